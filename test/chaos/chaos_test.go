package chaos

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/arloliu/parti"
	"github.com/arloliu/parti/test/internal/crew"
)

// TestChaos breaks fleets -faults times, in turn with each kind of ownership.
func TestChaos(t *testing.T) {
	if *faults == 0 {
		t.Skip("runs for minutes: make chaos")
	}
	began := time.Now()
	binary, err := crew.ServerBinary(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	var results []*result
	all := strings.Split(*modes, ",")
	for i, mode := range all {
		t.Run(mode, func(t *testing.T) {
			r := breakFleet(t, parti.Ownership(mode), binary, *faults/len(all), *seed+uint64(i))
			r.check(t, *rate)
			results = append(results, r)
		})
	}
	t.Logf("\n%s\nseed %d, all in %v", table(results), *seed, time.Since(began).Round(time.Second))
}

// breakFleet makes one run and judges it.
func breakFleet(t *testing.T, mode parti.Ownership, binary string, n int, seed uint64) *result {
	t.Helper()
	dir := historyDir(t, string(mode))
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute+time.Duration(n)*15*time.Second)
	defer cancel()
	res := &result{name: string(mode), dir: dir, planned: n, faults: make(map[kind]int)}
	r := &run{ctx: ctx, mode: mode, schedule: schedule(seed, n, *nodes), seed: seed, rate: *rate, dir: dir, result: res}
	res.err = r.play(binary, *nodes)
	if r.fleet == nil {
		t.Fatal(res.err)
	}
	res.notes = r.fleet.Notes
	if err := res.judge(r.fleet.N); err != nil {
		t.Fatal(err)
	}
	return res
}

// historyDir is where histories go.
func historyDir(t *testing.T, name string) string {
	t.Helper()
	base := *keep
	if base == "" {
		var err error
		if base, err = os.MkdirTemp("", "parti-chaos-"); err != nil { //nolint:usetesting // kept when the test fails
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if t.Failed() {
				t.Logf("the histories are kept in %s", base)
				return
			}
			_ = os.RemoveAll(base)
		})
	}
	dir := filepath.Join(base, name)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	return dir
}
