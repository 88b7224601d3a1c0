// Package onecpu keeps the race detector from crashing in synctest bubbles.
//
// Go 1.26 gives all timers of a bubble one context of the race detector, and
// lets a goroutine that receives from an expired timer run it in that context
// while the bubble's root runs others (time.go, maybeRunChan and unlockAndRun).
// Used by two threads at a time, the context is corrupted, and the program dies
// in ThreadSanitizer: about once in a hundred bubbles on a busy machine. On one
// processor there are no two at a time. Races are still found, since they are
// found by what is ordered, not by what happens to run in parallel.
package onecpu

import "runtime"

// InRace limits a program that was built with the race detector to one
// processor, until the function that it returns is called.
func InRace() (restore func()) {
	if !race {
		return func() {}
	}
	n := runtime.GOMAXPROCS(1)
	return func() { runtime.GOMAXPROCS(n) }
}
