package mutants

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

var (
	plant = flag.Bool("plant", false, "plant the mistakes and look who finds them")
	only  = flag.String("mutant", "", "plant only those whose name matches this pattern")
	seeds = flag.Int("seeds", 2000, "how many seeds the simulation may take: those of CI")
	every = flag.Int("every", 1, "plant every nth only")
	jobs  = flag.Int("jobs", 2, "how many at a time")
)

// root is the root of the module.
const root = "../.."

// TestTexts: every mistake can be planted. Where the code has changed, so must the
// mistake.
func TestTexts(t *testing.T) {
	names := map[string]bool{}
	for _, m := range All {
		if names[m.Name] {
			t.Errorf("there are two of %q", m.Name)
		}
		names[m.Name] = true
		if _, err := m.mutate(); err != nil {
			t.Error(err)
		}
		if _, err := regexp.Compile(m.By); err != nil || m.By == "" {
			t.Errorf("%s: by %q", m.Name, m.By)
		}
	}
	if len(All) < 25 {
		t.Errorf("there are %d mistakes", len(All))
	}
}

// mutate returns the text of the file with the mistake.
func (m Mutant) mutate() ([]byte, error) {
	b, err := os.ReadFile(filepath.Join(root, m.File))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", m.Name, err)
	}
	if n := strings.Count(string(b), m.Old); n != 1 {
		return nil, fmt.Errorf("%s: its text stands in %s %d times", m.Name, m.File, n)
	}
	return []byte(strings.Replace(string(b), m.Old, m.New, 1)), nil
}

// finding is who found a mistake.
type finding struct {
	by    string // "" = nobody
	seed  string
	steps string
	text  string
	took  time.Duration
}

// TestPlanted plants the mistakes and prints who finds them.
func TestPlanted(t *testing.T) {
	if !*plant {
		t.Skip("takes minutes; make mutants")
	}
	chosen := slices.DeleteFunc(slices.Clone(All), func(m Mutant) bool {
		return !regexp.MustCompile(*only).MatchString(m.Name) || slices.IndexFunc(All, func(o Mutant) bool { return o.Name == m.Name })%*every != 0
	})
	found := make([]finding, len(chosen))
	slots := make(chan struct{}, *jobs)
	var wg sync.WaitGroup
	for i, m := range chosen {
		wg.Go(func() {
			slots <- struct{}{}
			defer func() { <-slots }()
			began := time.Now()
			f, err := m.plant(t.Context(), t.TempDir())
			if err != nil {
				t.Error(err)
			}
			f.took = time.Since(began)
			found[i] = f
			_, _ = fmt.Fprintf(os.Stderr, "%s: %s, seed %s, %s steps, %v: %.150s\n", m.Name, f.by, f.seed, f.steps, f.took.Round(time.Second), f.text)
		})
	}
	wg.Wait()
	_, _ = fmt.Printf("| mistake | found by | seed | steps |\n|---|---|---|---|\n")
	for i, m := range chosen {
		f := found[i]
		who := "the simulation"
		if m.Test != "" {
			who = "`" + strings.TrimPrefix(m.Test, "./") + "`"
		}
		if f.by == "" {
			who = "**nobody**"
			t.Errorf("nobody finds %q: %s", m.Name, f.text)
		} else if !regexp.MustCompile("^(" + m.By + ")").MatchString(f.by) {
			t.Errorf("%q is found by %s, not by %s: %s", m.Name, f.by, m.By, f.text)
		}
		_, _ = fmt.Printf("| %s | %s, %s | %s | %s |\n", m.Name, who, f.by, f.seed, f.steps)
	}
}

var (
	simFailure  = regexp.MustCompile(`seed (\d+): (\d+) steps: (.*)`)
	testFailure = regexp.MustCompile(`--- FAIL: (\S+)`)
	invariant   = regexp.MustCompile(`\bI\d+\b`)
)

// plant compiles the tests with the mistake in it, and runs them until one fails.
func (m Mutant) plant(ctx context.Context, dir string) (finding, error) {
	text, err := m.mutate()
	if err != nil {
		return finding{}, err
	}
	file, overlay, bin := filepath.Join(dir, filepath.Base(m.File)), filepath.Join(dir, "overlay.json"), filepath.Join(dir, "test")
	at, err := filepath.Abs(filepath.Join(root, m.File))
	if err != nil {
		return finding{}, err
	}
	replace, err := json.Marshal(map[string]map[string]string{"Replace": {at: file}})
	if err != nil {
		return finding{}, err
	}
	for name, b := range map[string][]byte{file: text, overlay: replace} {
		if err := os.WriteFile(name, b, 0o600); err != nil {
			return finding{}, err
		}
	}
	pkg, args := "./internal/sim", []string{"-test.run=^TestSim$", fmt.Sprintf("-seeds=%d", *seeds), "-first"}
	if m.Test != "" {
		pkg, args = m.Test, []string{"-test.run=^" + m.By + "$", "-test.short"}
	}
	ctx, cancel := context.WithTimeout(ctx, 10*time.Minute)
	defer cancel()
	build := exec.CommandContext(ctx, "go", "test", "-c", "-vet=off", "-overlay", overlay, "-o", bin, pkg)
	build.Dir = root
	if out, err := build.CombinedOutput(); err != nil {
		return finding{}, fmt.Errorf("%s: does not compile: %w\n%s", m.Name, err, out)
	}
	run := exec.CommandContext(ctx, bin, args...)
	run.Dir = filepath.Join(root, pkg)
	run.Env = append(os.Environ(), "GOMAXPROCS=1") // seeds in their order
	out, err := run.CombinedOutput()
	switch {
	case err == nil:
		return finding{text: "all is well"}, nil
	case strings.Contains(string(out), "panic:") || strings.Contains(string(out), "fatal error:"):
		return finding{text: "it crashes:\n" + string(out)}, nil
	case m.Test != "":
		if f := testFailure.FindStringSubmatch(string(out)); f != nil {
			return finding{by: f[1], seed: "–", steps: "–", text: f[0]}, nil
		}
	default:
		if f := simFailure.FindStringSubmatch(string(out)); f != nil {
			return finding{by: invariant.FindString(f[3]), seed: f[1], steps: f[2], text: f[3]}, nil
		}
	}
	return finding{text: string(out)}, nil
}
