package main

import (
	"strings"
	"testing"
)

func TestSummarySaysWhenAKillShowsNothing(t *testing.T) {
	const small = "input too small to show a kill with work in flight"
	for name, c := range map[string]struct {
		s    summary
		want bool
	}{
		"nobody was killed":    {summary{}, false},
		"in the midst":         {summary{killed: "worker 2", percent: 26, inFlight: 40}, false},
		"nothing in flight":    {summary{killed: "worker 2", percent: 40}, true},
		"with all but the end": {summary{killed: "worker 2", percent: 66.7, inFlight: 1}, true},
		"at the end":           {summary{killed: "worker 2", percent: 100}, true},
	} {
		c.s.in, c.s.tally = &input{want: newWordCounts()}, newTally()
		if got := strings.Contains(c.s.String(), small); got != c.want {
			t.Errorf("%s: %v, want %v:\n%s", name, got, c.want, c.s)
		}
	}
}
