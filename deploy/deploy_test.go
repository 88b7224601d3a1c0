// Package deploy_test checks what is in this folder against what it is made for.
package deploy_test

import (
	"encoding/json"
	"io"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/goccy/go-yaml"

	"github.com/arloliu/parti"
	"github.com/arloliu/parti/metrics/prometheus"
)

func read(t *testing.T, path string) string {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// collected returns the names of all series of a worker, with the labels they have.
func collected(t *testing.T) map[string][]string {
	t.Helper()
	c := prometheus.New()
	c.SetWorker("worker-0")
	rec := httptest.NewRecorder()
	c.Handler().ServeHTTP(rec, httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/", nil))
	b, _ := io.ReadAll(rec.Body)
	series := map[string][]string{}
	for line := range strings.Lines(string(b)) {
		m := regexp.MustCompile(`^(parti_\w+)(?:\{(.*)\})? `).FindStringSubmatch(line)
		if m == nil {
			continue
		}
		labels := []string{}
		for _, l := range regexp.MustCompile(`(\w+)="`).FindAllStringSubmatch(m[2], -1) {
			labels = append(labels, l[1])
		}
		series[m[1]] = labels
	}
	if len(series) < 40 {
		t.Fatalf("%d series", len(series))
	}
	return series
}

// checkQuery fails when an expression uses a series, or a label of parti's, that
// no worker has. It returns the series used.
func checkQuery(t *testing.T, where, expr string, have map[string][]string) []string {
	t.Helper()
	var used []string
	for _, m := range regexp.MustCompile(`(parti_\w+)(?:\{([^}]*)\})?`).FindAllStringSubmatch(expr, -1) {
		labels, ok := have[m[1]]
		if !ok {
			t.Errorf("%s: there is no series %s", where, m[1])
		}
		used = append(used, m[1])
		for _, l := range regexp.MustCompile(`(\w+)(?:=~?|!=)"`).FindAllStringSubmatch(m[2], -1) {
			if l[1] != "job" && l[1] != "fleet" && l[1] != "instance" && !slices.Contains(labels, l[1]) {
				t.Errorf("%s: %s has no label %s", where, m[1], l[1])
			}
		}
	}
	for _, m := range regexp.MustCompile(`\b(?:by|on) \(([^)]*)\)`).FindAllStringSubmatch(expr, -1) {
		if labels := strings.Split(m[1], ", "); slices.Contains(labels, "job") != slices.Contains(labels, "fleet") {
			t.Errorf("%s: fleets of one job are taken for one by %s", where, m[0])
		}
	}
	return used
}

type rules struct {
	Groups []struct {
		Rules []struct {
			Alert       string
			Expr        string
			Labels      map[string]string
			Annotations map[string]string
		}
	}
}

// Alerts use series that exist, and each has a section in the operator's manual.
func TestAlerts(t *testing.T) {
	var r rules
	if err := yaml.Unmarshal([]byte(read(t, "prometheus/alerts.yml")), &r); err != nil {
		t.Fatal(err)
	}
	have, manual, tests := collected(t), read(t, "../docs/OPERATIONS.md"), read(t, "prometheus/alerts_test.yml")
	if len(r.Groups) != 1 || len(r.Groups[0].Rules) < 15 {
		t.Fatalf("%+v", r)
	}
	for _, a := range r.Groups[0].Rules {
		checkQuery(t, a.Alert, a.Expr, have)
		if fleets := strings.Count(a.Expr, "by (job, fleet"); fleets == 0 || fleets != strings.Count(a.Expr, "by (") {
			t.Errorf("%s does not tell fleets apart: %s", a.Alert, a.Expr)
		}
		if !strings.Contains(manual, "\n### "+a.Alert+"\n") {
			t.Errorf("OPERATIONS.md has no section %s", a.Alert)
		}
		if !strings.HasSuffix(a.Annotations["runbook_url"], "docs/OPERATIONS.md#"+strings.ToLower(a.Alert)) {
			t.Errorf("%s: its runbook is at %s", a.Alert, a.Annotations["runbook_url"])
		}
		if s := a.Labels["severity"]; s != "warning" && s != "critical" {
			t.Errorf("%s: severity %q", a.Alert, s)
		}
		if !strings.Contains(tests, "  - name: "+a.Alert+"\n") {
			t.Errorf("%s: no test shows it firing", a.Alert)
		}
	}
	for _, m := range regexp.MustCompile(`(?m)^### (Parti\w+)$`).FindAllStringSubmatch(manual, -1) {
		if !strings.Contains(read(t, "prometheus/alerts.yml"), "alert: "+m[1]+"\n") {
			t.Errorf("OPERATIONS.md has a section %s, which is no alert", m[1])
		}
	}
}

// Every runbook of an alert and every symptom says what to do, and names tests that
// show the effect.
func TestRemediesAreTested(t *testing.T) {
	tests := map[string]bool{}
	err := filepath.WalkDir("..", func(path string, _ fs.DirEntry, err error) error {
		if err != nil || !strings.HasSuffix(path, "_test.go") {
			return err
		}
		for _, m := range regexp.MustCompile(`(?m)^func (Test\w+)\(t \*testing\.T\)`).FindAllStringSubmatch(read(t, path), -1) {
			tests[m[1]] = true
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	manual := read(t, "../docs/OPERATIONS.md")
	section := func(title string) string {
		_, text, ok := strings.Cut(manual, "\n## "+title+"\n")
		if !ok {
			t.Fatalf("no section %s", title)
		}
		text, _, _ = strings.Cut(text, "\n## ")
		return text
	}
	remedies := map[string]string{}
	for part := range strings.SplitSeq(section("Alerts"), "\n### ") {
		if name, text, _ := strings.Cut(part, "\n"); strings.HasPrefix(name, "Parti") {
			if !strings.Contains(text, "**Do:** ") {
				t.Errorf("%s does not say what to do", name)
			}
			remedies[name] = text
		}
	}
	for part := range strings.SplitSeq(section("Symptoms"), "\n\n") {
		if name, text, ok := strings.Cut(strings.TrimSpace(part), ".** "); ok {
			remedies[strings.TrimPrefix(name, "**")] = text
		} else {
			t.Errorf("not a symptom: %s", part)
		}
	}
	if len(remedies) < 30 {
		t.Fatalf("%d remedies", len(remedies))
	}
	for name, text := range remedies {
		named := regexp.MustCompile("`(Test\\w+)`").FindAllStringSubmatch(text, -1)
		if len(named) == 0 {
			t.Errorf("%s: no test shows the effect of the remedy", name)
		}
		for _, m := range named {
			if !tests[m[1]] {
				t.Errorf("%s: there is no %s", name, m[1])
			}
		}
	}
}

// The dashboard uses series that exist, and shows all of them.
func TestDashboard(t *testing.T) {
	var board struct {
		Title  string
		Panels []struct {
			Title   string
			Targets []struct{ Expr string }
		}
	}
	if err := json.Unmarshal([]byte(read(t, "grafana/parti.json")), &board); err != nil {
		t.Fatal(err)
	}
	have := collected(t)
	shown := map[string]bool{}
	for _, p := range board.Panels {
		for _, target := range p.Targets {
			if target.Expr == "" {
				t.Errorf("%s: no query", p.Title)
			}
			if chosen := strings.Count(target.Expr, `{job=~"$job", fleet=~"$fleet"}`); chosen == 0 || chosen < strings.Count(target.Expr, "{") {
				t.Errorf("%s shows more than the fleets that are chosen: %s", p.Title, target.Expr)
			}
			for _, name := range checkQuery(t, p.Title, target.Expr, have) {
				shown[regexp.MustCompile(`_(bucket|sum|count)$`).ReplaceAllString(name, "")] = true
			}
		}
	}
	for name := range have {
		if name = regexp.MustCompile(`_(bucket|sum|count)$`).ReplaceAllString(name, ""); !shown[name] {
			t.Errorf("no panel shows %s", name)
		}
	}
}

// The operator's manual says what every metric means.
func TestMetricsAreDocumented(t *testing.T) {
	manual := read(t, "../docs/OPERATIONS.md")
	documented := map[string]bool{}
	for _, m := range regexp.MustCompile("(?m)^\\| `(parti_\\w+)`").FindAllStringSubmatch(manual, -1) {
		documented[m[1]] = true
	}
	have := map[string]bool{}
	for name := range collected(t) {
		have[regexp.MustCompile(`_(bucket|sum|count)$`).ReplaceAllString(name, "")] = true
	}
	for name := range have {
		if !documented[name] {
			t.Errorf("OPERATIONS.md does not explain %s", name)
		}
	}
	for name := range documented {
		if !have[name] {
			t.Errorf("OPERATIONS.md explains %s, which does not exist", name)
		}
	}
}

// promtool, where there is one, has nothing to say against the rules, and each alert
// fires when it should.
func TestPromtool(t *testing.T) {
	promtool, err := exec.LookPath("promtool")
	if err != nil {
		if os.Getenv("PARTI_OBSERVE") != "" {
			t.Fatal(err)
		}
		t.Skip("no promtool here; make observe needs it")
	}
	for _, args := range [][]string{{"check", "rules", "prometheus/alerts.yml"}, {"test", "rules", "prometheus/alerts_test.yml"}} {
		if out, err := exec.CommandContext(t.Context(), promtool, args...).CombinedOutput(); err != nil {
			t.Errorf("%s: %v\n%s", strings.Join(args, " "), err, out)
		}
	}
}

// workload is what the tests look at of a manifest.
type workload struct {
	Kind string
	Spec struct {
		Replicas int
		Strategy struct {
			RollingUpdate struct{ MaxSurge, MaxUnavailable *int }
		}
		UpdateStrategy struct{ Type string }
		ServiceName    string
		Template       struct {
			Spec struct {
				TerminationGracePeriodSeconds int
				Containers                    []struct {
					Env                           []struct{ Name, Value string }
					Ports                         []struct{ Name string }
					ReadinessProbe, LivenessProbe struct {
						HTTPGet          struct{ Path, Port string }
						PeriodSeconds    int
						FailureThreshold int
					}
					Lifecycle struct {
						PreStop struct {
							HTTPGet struct{ Path, Port string }
						}
					}
				}
			}
		}
	}
}

func decodeWorkload(t *testing.T, text string) workload {
	t.Helper()
	var v any
	if err := yaml.Unmarshal([]byte(text), &v); err != nil {
		t.Fatal(err)
	}
	b, err := json.Marshal(v) // whose names match in either case
	if err != nil {
		t.Fatal(err)
	}
	var w workload
	if err := json.Unmarshal(b, &w); err != nil {
		t.Fatal(err)
	}
	return w
}

// The manifests are such that a rolling update moves no partition and a stopping
// worker has time to drain, and their variables are those of the guide.
func TestManifests(t *testing.T) {
	guide := read(t, "../docs/USER_GUIDE.md")
	cfg := parti.DefaultConfig()
	paths, err := filepath.Glob("kubernetes/*.yaml")
	if err != nil || len(paths) != 2 {
		t.Fatalf("%v %v", paths, err)
	}
	for _, path := range paths {
		text, _, _ := strings.Cut(read(t, path), "\n---\n")
		w := decodeWorkload(t, text)
		switch w.Kind {
		case "Deployment":
			if s := w.Spec.Strategy.RollingUpdate.MaxSurge; s == nil || *s != 0 {
				t.Errorf("%s: maxSurge is not 0: a replacement takes another id", path)
			}
		case "StatefulSet":
			if w.Spec.UpdateStrategy.Type != "RollingUpdate" || w.Spec.ServiceName == "" {
				t.Errorf("%s: %+v", path, w.Spec)
			}
		default:
			t.Errorf("%s: a %q", path, w.Kind)
		}
		grace := time.Duration(w.Spec.Template.Spec.TerminationGracePeriodSeconds) * time.Second
		if grace < 2*cfg.ShutdownTimeout {
			t.Errorf("%s: %v to terminate, ShutdownTimeout is %v", path, grace, cfg.ShutdownTimeout)
		}
		c := w.Spec.Template.Spec.Containers[0]
		env := map[string]string{}
		for _, e := range c.Env {
			env[e.Name] = e.Value
			if !regexp.MustCompile(`\b` + e.Name + `\b`).MatchString(guide) {
				t.Errorf("%s: the guide does not know %s", path, e.Name)
			}
		}
		if most, err := strconv.Atoi(env["WORKER_ID_MAX"]); err != nil || most < 2*w.Spec.Replicas || env["NATS_URL"] == "" {
			t.Errorf("%s: %v for %d replicas", path, env, w.Spec.Replicas)
		}
		port := c.Ports[0].Name
		if p := c.ReadinessProbe; p.HTTPGet.Path != "/readyz" || p.HTTPGet.Port != port {
			t.Errorf("%s: readiness %+v", path, p)
		}
		if p := c.LivenessProbe; p.HTTPGet.Path != "/livez" || p.HTTPGet.Port != port || p.PeriodSeconds*p.FailureThreshold < 30 {
			t.Errorf("%s: liveness %+v", path, p)
		}
		if p := c.Lifecycle.PreStop; p.HTTPGet.Path != "/drain" || p.HTTPGet.Port != port {
			t.Errorf("%s: preStop %+v", path, p)
		}
	}
}
