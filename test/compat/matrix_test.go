package compat

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"text/tabwriter"
	"time"

	"github.com/arloliu/parti/test/internal/crew"
)

var (
	versions = flag.String("versions", "", "of nats-server, separated by commas; none runs nothing")
	moves    = flag.Int("moves", 70, "planned moves on each, over all streams together")
	faults   = flag.Int("faults", 10, "faults injected on each, into a fleet on a cluster")
	seed     = flag.Int("seed", 1, "decides the schedules")
)

// entry is what one version of the server came to.
type entry struct {
	version string
	level   string // of its API
	single  string // conformance on one server
	cluster string // and on three
	soak    report
	chaos   report
}

// report is what a table of test/soak or test/chaos says.
type report struct {
	rows map[string][]string
	ok   bool
	took time.Duration
}

// TestMatrix installs each version of nats-server that -versions names, and runs
// the conformance suite, planned moves with kills, and a short chaos on it.
func TestMatrix(t *testing.T) {
	if *versions == "" {
		t.Skip("installs servers and runs for minutes: make compat")
	}
	var all []entry
	for version := range strings.SplitSeq(*versions, ",") {
		t.Run(version, func(t *testing.T) {
			e, err := tryVersion(t, version)
			if err != nil {
				t.Error(err)
			}
			all = append(all, e)
		})
	}
	t.Logf("\n%s\nseed %d", matrix(all), *seed)
}

func tryVersion(t *testing.T, version string) (entry, error) {
	t.Helper()
	e := entry{version: version}
	binary, err := install(version)
	if err != nil {
		return e, err
	}
	conformance := run(binary, ".", ".", "-run", "^TestConformance$")
	e.level = first(conformance.out, `API level (\d+)`)
	e.single = outcome(conformance.out, "memory", "file")
	e.cluster = outcome(conformance.out, "R3")
	tests := "^TestSoak$"
	if strings.HasPrefix(version, "2.9.") { // PerWorker needs filters of 2.10
		tests = "^TestSoak$/^(limits|interest|work)"
	}
	soak := run(binary, "../soak", ".", "-run", tests, "-args", fmt.Sprintf("-moves=%d", *moves), fmt.Sprintf("-seed=%d", *seed))
	e.soak = soak.report()
	chaos := run(binary, "../chaos", ".", "-run", "^TestChaos$", "-args", fmt.Sprintf("-faults=%d", *faults), "-modes=available",
		fmt.Sprintf("-seed=%d", *seed))
	e.chaos = chaos.report()
	for name, o := range map[string]output{"conformance": conformance, "soak": soak, "chaos": chaos} {
		if o.err != nil {
			err = errors.Join(err, fmt.Errorf("%s on %s: %w\n%s", name, version, o.err, o.out))
		}
	}
	return e, err
}

// install installs a version, once.
func install(version string) (string, error) {
	cache, err := os.UserCacheDir()
	if err != nil {
		return "", err
	}
	dir := filepath.Join(cache, "parti", "nats-server-"+version)
	binary := filepath.Join(dir, "nats-server")
	if _, err := os.Stat(binary); err == nil {
		return binary, nil
	}
	cmd := exec.Command("go", "install", "github.com/nats-io/nats-server/v2@v"+version)
	cmd.Dir = os.TempDir() // outside of any module
	cmd.Env = append(os.Environ(), "GOBIN="+dir, "GOFLAGS=")
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("install nats-server %s: %w\n%s", version, err, out)
	}
	return binary, nil
}

type output struct {
	out  string
	err  error
	took time.Duration
}

// run runs tests in a folder on a server's program.
func run(binary, dir string, args ...string) output {
	began := time.Now()
	cmd := exec.Command("go", append([]string{"test", "-count=1", "-timeout=30m", "-v"}, args...)...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), crew.ServerVariable+"="+binary)
	out, err := cmd.CombinedOutput()
	return output{string(out), err, time.Since(began)}
}

// first returns what a pattern's group matches first.
func first(text, pattern string) string {
	if m := regexp.MustCompile(pattern).FindStringSubmatch(text); m != nil {
		return m[1]
	}
	return "?"
}

// outcome tells whether all parts of the conformance suite named have passed.
func outcome(text string, names ...string) string {
	for _, name := range names {
		if !strings.Contains(text, "--- PASS: TestConformance/"+name+" ") {
			return "FAIL"
		}
	}
	return "pass"
}

// report reads a table: a name and cells, all apart by two blanks at least.
func (o output) report() report {
	r := report{rows: make(map[string][]string), ok: o.err == nil, took: o.took}
	apart := regexp.MustCompile(` {2,}`)
	last := ""
	for line := range strings.Lines(o.out) {
		cells := apart.Split(strings.TrimSpace(line), -1)
		if len(cells) < 2 {
			continue
		}
		name := cells[0]
		if name == "p99" || name == "worst" { // of the row before
			name = last + " " + name
		} else {
			last = strings.TrimSuffix(name, " p50")
		}
		r.rows[name] = cells[1:]
	}
	return r
}

// sum adds up rows of numbers.
func (r report) sum(names ...string) string {
	total := 0
	for _, name := range names {
		if r.rows[name] == nil {
			return "?"
		}
		for _, c := range r.rows[name] {
			n, err := strconv.Atoi(c)
			if err != nil {
				return "?"
			}
			total += n
		}
	}
	return strconv.Itoa(total)
}

// most is the longest duration of a row.
func (r report) most(name string) string {
	longest := time.Duration(-1)
	for _, c := range r.rows[name] {
		if d, err := time.ParseDuration(c); err == nil {
			longest = max(longest, d)
		}
	}
	return crew.Short(longest)
}

func passed(ok bool) string {
	if ok {
		return "pass"
	}
	return "FAIL"
}

// matrix shows versions side by side.
func matrix(all []entry) string {
	var b strings.Builder
	w := tabwriter.NewWriter(&b, 0, 0, 2, ' ', tabwriter.AlignRight)
	row := func(name string, cell func(entry) string) {
		_, _ = fmt.Fprintf(w, "%s\t", name)
		for _, e := range all {
			_, _ = fmt.Fprintf(w, "%s\t", cell(e))
		}
		_, _ = fmt.Fprintln(w)
	}
	bad := []string{"lost", "skipped", "stranded", "duplicate", "out of order", "overlapping owners", "stale token"}
	row("nats-server", func(e entry) string { return e.version })
	row("API level", func(e entry) string { return e.level })
	row("conformance, one server", func(e entry) string { return e.single })
	row("conformance, R3", func(e entry) string { return e.cluster })
	row("moves under load", func(e entry) string { return passed(e.soak.ok) })
	row("planned moves", func(e entry) string { return e.soak.sum("planned moves") })
	row("messages", func(e entry) string { return e.soak.sum("messages") })
	row("lost, doubled, stale, …", func(e entry) string { return e.soak.sum(bad...) })
	row("pause of a move p50", func(e entry) string { return e.soak.most("pause of moved p50") })
	row("p99", func(e entry) string { return e.soak.most("pause of moved p99") })
	row("after a kill: grant to message p50", func(e entry) string { return e.soak.most("grant to first message p50") })
	row("worst", func(e entry) string { return e.soak.most("grant to first message worst") })
	row("chaos on R3", func(e entry) string { return passed(e.chaos.ok) })
	row("faults", func(e entry) string { return e.chaos.sum("faults") })
	row("messages", func(e entry) string { return e.chaos.sum("messages") })
	row("lost, doubled, stale, …", func(e entry) string { return e.chaos.sum(bad...) })
	row("begun again", func(e entry) string { return e.chaos.sum("doubled, ack unanswered") })
	row("Stable after faults, worst", func(e entry) string { return e.chaos.most("Stable after faults worst") })
	row("took", func(e entry) string { return (e.soak.took + e.chaos.took).Round(time.Second).String() })
	_ = w.Flush()
	return b.String()
}
