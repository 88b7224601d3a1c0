package parti

import (
	"encoding/json"
	"math"
	"testing"
)

func TestTokenOrder(t *testing.T) {
	ascending := []Token{
		{},
		{Version: 1},
		{Version: math.MaxUint64},
		{Term: 1},
		{Term: 1, Version: 9},
		{Term: 1, Version: 10},
		{Term: 2, Version: 1},
		{Term: math.MaxUint64, Version: 0},
		{Term: math.MaxUint64, Version: math.MaxUint64},
	}
	for i, a := range ascending {
		for j, b := range ascending {
			want := compareInts(i, j)
			if got := a.Compare(b); got != want {
				t.Errorf("%v.Compare(%v) = %d, want %d", a, b, got, want)
			}
			if got := a.Less(b); got != (want < 0) {
				t.Errorf("%v.Less(%v) = %v", a, b, got)
			}
			if (a == b) != (want == 0) {
				t.Errorf("%v == %v", a, b)
			}
		}
		if got := a.IsZero(); got != (i == 0) {
			t.Errorf("%v.IsZero() = %v", a, got)
		}
	}
}

func TestTokenString(t *testing.T) {
	if got := (Token{Term: 3, Version: 41}).String(); got != "3.41" {
		t.Errorf("got %q", got)
	}
}

func TestAssignmentJSON(t *testing.T) {
	text, err := json.Marshal(Assignment{
		Term: 1, Version: 2, Lifecycle: LifecyclePostColdStart,
		Partitions: []Partition{{Keys: []string{"orders", "0"}, Weight: 100}},
	})
	if err != nil {
		t.Fatal(err)
	}
	const want = `{"term":1,"version":2,"lifecycle":"post_cold_start","partitions":[{"keys":["orders","0"],"weight":100}]}`
	if string(text) != want {
		t.Errorf("got  %s\nwant %s", text, want)
	}
}
