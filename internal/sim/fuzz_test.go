package sim

import "testing"

// FuzzSeed simulates whatever seed it is given.
func FuzzSeed(f *testing.F) {
	f.Add(uint64(1))
	f.Add(uint64(1) << 63)
	f.Fuzz(func(t *testing.T, seed uint64) {
		if w, _, err := simulate(run{seed: seed, trace: true}); err != nil {
			t.Fatalf("seed %d: %v\n%s", seed, err, w.trace.Last())
		}
	})
}
