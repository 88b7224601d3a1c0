package core

import "testing"

// TestBrokenLine: which heads, read after another one was seen, do not continue
// its line.
func TestBrokenLine(t *testing.T) {
	seen := sight{at: version{5, 10}, root: 4, by: "a"}
	for name, c := range map[string]struct {
		head   headRecord
		breaks bool
	}{
		"the same":                     {headRecord{Term: 5, Version: 10, Root: 4, Base: version{4, 7}, LeaderInc: "a"}, false},
		"the next one":                 {headRecord{Term: 5, Version: 11, Root: 4, Base: version{4, 7}, LeaderInc: "a"}, false},
		"the next term":                {headRecord{Term: 6, Version: 10, Root: 4, Base: version{5, 10}, LeaderInc: "b"}, false},
		"the next line":                {headRecord{Term: 9, Version: 10, Root: 9, Base: version{9, 0}, LeaderInc: "b"}, false},
		"a later term of another line": {headRecord{Term: 12, Version: 15, Root: 9, Base: version{11, 3}, LeaderInc: "b"}, false},
		"an older version":             {headRecord{Term: 5, Version: 9, Root: 4, Base: version{4, 7}, LeaderInc: "a"}, true},
		"an older term":                {headRecord{Term: 4, Version: 12, Root: 4, Base: version{4, 0}, LeaderInc: "a"}, true},
		"an older line":                {headRecord{Term: 6, Version: 12, Root: 3, Base: version{5, 11}, LeaderInc: "b"}, true},
		"a term based on less":         {headRecord{Term: 6, Version: 12, Root: 4, Base: version{5, 9}, LeaderInc: "b"}, true},
		"the term of another leader":   {headRecord{Term: 5, Version: 11, Root: 4, Base: version{4, 7}, LeaderInc: "b"}, true},
		"of unknown line, later":       {headRecord{Term: 6, Version: 1}, false},
	} {
		if got := seen.breaks(c.head); got != c.breaks {
			t.Errorf("%s: breaks is %t", name, got)
		}
	}
}
