package chaos

import (
	"reflect"
	"testing"
)

func TestSchedule(t *testing.T) {
	for _, n := range []int{1, 10, 15, 30, 100, 200, 333} {
		for seed := range uint64(50) {
			episodes := schedule(seed, n, 3)
			count, sum := map[kind]int{}, 0
			for _, ep := range episodes {
				busy := map[int]bool{}
				for _, f := range ep {
					count[f.Kind]++
					sum++
					if f.Kind.ofServer() || f.Kind == moved {
						continue
					}
					if busy[f.Slot] || f.Slot < 0 || f.Slot >= slots {
						t.Errorf("seed %d: two faults in slot %d: %v", seed, f.Slot, ep)
					}
					if busy[f.Slot] = true; f.Kind == sigkill && f.Slot == 0 {
						t.Errorf("seed %d: the worker that is to live is killed", seed)
					}
				}
				if len(ep) > perEpisode {
					t.Errorf("seed %d: %d faults in one episode", seed, len(ep))
				}
			}
			if sum != n {
				t.Errorf("seed %d: %d faults, want %d", seed, sum, n)
			}
			for _, k := range kinds() {
				if count[k] < n/20 {
					t.Errorf("seed %d: %d of %d faults are %s", seed, count[k], n, k)
				}
			}
			if !reflect.DeepEqual(episodes, schedule(seed, n, 3)) {
				t.Errorf("seed %d: another schedule the second time", seed)
			}
		}
	}
	if reflect.DeepEqual(schedule(1, 30, 3), schedule(2, 30, 3)) {
		t.Error("the seed decides nothing")
	}
}
