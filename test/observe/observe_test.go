// Package observe_test has a real Prometheus watch the demo.
package observe_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"
)

// required says that a missing prometheus is a failure: make observe sets it.
const required = "PARTI_OBSERVE"

// TestPrometheusWatchesTheDemo: it loads the rules, finds every worker up, and sees
// the fleet change. One worker is killed meanwhile, and nothing is lost.
func TestPrometheusWatchesTheDemo(t *testing.T) {
	program, err := exec.LookPath("prometheus")
	if err != nil {
		if os.Getenv(required) != "" {
			t.Fatal(err)
		}
		t.Skip("no prometheus here; see make observe")
	}
	dir := t.TempDir()
	binary := filepath.Join(dir, "parti")
	if out, err := exec.CommandContext(t.Context(), "go", "build", "-o", binary, "../../cmd/parti").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	p := startPrometheus(t, program, dir)
	demo := exec.CommandContext(t.Context(), binary, "demo", "--metrics", "127.0.0.1", "--pace", "20s")
	out, err := demo.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := demo.Start(); err != nil {
		t.Fatal(err)
	}
	var said bytes.Buffer
	var targets []string
	where := regexp.MustCompile(`metrics at http://([^/\s]+)/metrics`)
	scraped := make(chan string, 1)
	lines := bufio.NewScanner(out)
	for lines.Scan() {
		fmt.Fprintln(&said, lines.Text())
		m := where.FindStringSubmatch(lines.Text())
		if m == nil {
			continue
		}
		targets = append(targets, m[1])
		p.watch(t, targets)
		if len(targets) == 4 { // the fleet to begin with; the fifth comes later
			go func() { scraped <- p.awaitFleet(t.Context()) }()
		}
	}
	if err := demo.Wait(); err != nil {
		t.Errorf("the demo: %v\n%s", err, said.String())
	}
	if len(targets) != 5 {
		t.Fatalf("%d workers said where their metrics are\n%s", len(targets), said.String())
	}
	if problem := <-scraped; problem != "" {
		t.Error(problem)
	}
	for query, want := range map[string]string{
		"count(max_over_time(up[5m]) == 1)":                                            "5",
		`sum(max_over_time(parti_rebalances_total{reason="cold_start"}[5m]))`:          "1",
		`sum(max_over_time(parti_rebalances_total{reason="emergency"}[5m])) >= bool 1`: "1",
		"max(max_over_time(parti_assigned_partitions[5m])) > bool 0":                   "1",
		"max(max_over_time(parti_heartbeat_duration_seconds_count[5m])) > bool 1":      "1",
	} {
		if got, err := p.query(t.Context(), query); err != nil || got != want {
			t.Errorf("%s is %q, want %s: %v", query, got, want, err)
		}
	}
	p.checkRules(t)
}

// prom is a running Prometheus.
type prom struct {
	url     string
	targets string
}

// startPrometheus starts one that reads its targets from a file, and is ready.
func startPrometheus(t *testing.T, program, dir string) *prom {
	t.Helper()
	rules, err := filepath.Abs("../../deploy/prometheus/alerts.yml")
	if err != nil {
		t.Fatal(err)
	}
	p := &prom{targets: filepath.Join(dir, "targets.json")}
	p.watch(t, nil)
	config := fmt.Sprintf(`
global: {scrape_interval: 500ms, evaluation_interval: 1s}
rule_files: [%q]
scrape_configs:
  - job_name: demo
    file_sd_configs: [{files: [%q], refresh_interval: 1s}]
`, rules, p.targets)
	file := filepath.Join(dir, "prometheus.yml")
	if err := os.WriteFile(file, []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	// It cannot choose a port by itself: one that is free now is all that can be had.
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := l.Addr().String()
	_ = l.Close()
	p.url = "http://" + addr
	cmd := exec.CommandContext(t.Context(), program, "--config.file", file, "--storage.tsdb.path", filepath.Join(dir, "data"),
		"--web.listen-address", addr, "--log.level", "info")
	stderr, err := cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ready := make(chan struct{})
	var once sync.Once
	var wg sync.WaitGroup
	var log bytes.Buffer
	wg.Go(func() {
		lines := bufio.NewScanner(stderr)
		for lines.Scan() {
			fmt.Fprintln(&log, lines.Text())
			if strings.Contains(lines.Text(), "Server is ready") {
				once.Do(func() { close(ready) })
			}
		}
	})
	t.Cleanup(func() {
		_ = cmd.Process.Signal(os.Interrupt)
		wg.Wait()
		_ = cmd.Wait()
		if t.Failed() {
			t.Logf("prometheus said:\n%s", log.String())
		}
	})
	select {
	case <-ready:
	case <-time.After(30 * time.Second):
		t.Fatal("prometheus is not ready after 30 s")
	}
	return p
}

// watch has it scrape these addresses.
func (p *prom) watch(t *testing.T, addrs []string) {
	t.Helper()
	if addrs == nil {
		addrs = []string{}
	}
	b, err := json.Marshal([]map[string][]string{{"targets": addrs}})
	if err != nil {
		t.Fatal(err)
	}
	// Renamed into place, so that half of it is never read.
	if err := os.WriteFile(p.targets+".new", b, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(p.targets+".new", p.targets); err != nil {
		t.Fatal(err)
	}
}

func (p *prom) get(ctx context.Context, path string, into any) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, p.url+path, nil)
	if err != nil {
		return err
	}
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: 10 * time.Second}
	resp, err := client.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	return json.NewDecoder(resp.Body).Decode(into)
}

// query returns the one value of an expression, "" when there is none.
func (p *prom) query(ctx context.Context, expr string) (string, error) {
	var r struct {
		Error string
		Data  struct{ Result []struct{ Value [2]any } }
	}
	if err := p.get(ctx, "/api/v1/query?query="+url.QueryEscape(expr), &r); err != nil {
		return "", err
	}
	if r.Error != "" || len(r.Data.Result) != 1 {
		return "", fmt.Errorf("%d results %s", len(r.Data.Result), r.Error)
	}
	return fmt.Sprint(r.Data.Result[0].Value[1]), nil
}

// awaitFleet waits until Prometheus sees one leader and every partition owned. It
// returns what is missing.
func (p *prom) awaitFleet(ctx context.Context) string {
	const whole = `sum(parti_leader) == 1 and sum(parti_assigned_partitions) == max(parti_fleet_partitions) and sum(parti_state{state="Stable"}) >= 1`
	tick := time.NewTicker(250 * time.Millisecond)
	defer tick.Stop()
	for range 60 {
		if got, err := p.query(ctx, whole); err == nil && got == "1" {
			return ""
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return "the test ended before the fleet was whole"
		}
	}
	return "Prometheus did not see a whole fleet within 15 s"
}

// checkRules fails unless every rule was loaded and can be evaluated.
func (p *prom) checkRules(t *testing.T) {
	t.Helper()
	var r struct {
		Data struct {
			Groups []struct {
				Rules []struct{ Name, Health, LastError string }
			}
		}
	}
	if err := p.get(t.Context(), "/api/v1/rules", &r); err != nil {
		t.Fatal(err)
	}
	if len(r.Data.Groups) != 1 || len(r.Data.Groups[0].Rules) < 15 {
		t.Fatalf("%+v", r)
	}
	for _, rule := range r.Data.Groups[0].Rules {
		if rule.Health != "ok" {
			t.Errorf("%s: %s %s", rule.Name, rule.Health, rule.LastError)
		}
	}
}
