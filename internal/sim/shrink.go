package sim

import (
	"maps"
	"slices"
	"time"
)

// Shrink leaves out faults of a seed for as long as what is left still breaks
// something, and returns those that are left out. try runs the seed without them,
// and tells whether it fails; it is asked until the time has come.
func Shrink(faults int, end time.Time, try func(skip map[int]bool) bool) map[int]bool {
	skip := map[int]bool{}
	// First what comes last, in ever smaller pieces.
	for size := max(1, faults/2); ; size = max(1, size/2) {
		less := false
		for hi := faults; hi > 0 && time.Now().Before(end); hi -= size {
			more := maps.Clone(skip)
			for i := max(1, hi-size+1); i <= hi; i++ {
				more[i] = true
			}
			if len(more) > len(skip) && try(more) {
				skip, less = more, true
			}
		}
		if size == 1 && !less || !time.Now().Before(end) {
			return skip
		}
	}
}

// left are the faults that are not left out.
func left(faults int, skip map[int]bool) []int {
	var out []int
	for i := 1; i <= faults; i++ {
		if !skip[i] {
			out = append(out, i)
		}
	}
	return slices.Clip(out)
}
