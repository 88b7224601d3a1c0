package lines

import (
	"fmt"
	"testing"
	"time"
)

func TestLimiter(t *testing.T) {
	var l Limiter
	for _, c := range []struct {
		at       time.Duration
		cause    string
		withheld int
		said     bool
	}{
		{0, "a", 0, true},
		{time.Millisecond, "b", 0, true},
		{400 * time.Millisecond, "a", 0, false},
		{999 * time.Millisecond, "a", 0, false},
		{1000 * time.Millisecond, "a", 2, true},
		{1500 * time.Millisecond, "a", 0, false},
		{1500 * time.Millisecond, "b", 0, true},
		{2100 * time.Millisecond, "a", 1, true},
		{time.Minute, "a", 0, true},
	} {
		if withheld, said := l.Allow(c.at, c.cause); withheld != c.withheld || said != c.said {
			t.Errorf("%s at %v: said %v, withheld %d, want %v, %d", c.cause, c.at, said, withheld, c.said, c.withheld)
		}
	}
}

// TestLimiterForgets: what was said long ago first, and everything when even that is
// not enough.
func TestLimiterForgets(t *testing.T) {
	for _, step := range []time.Duration{10 * time.Millisecond, time.Microsecond} {
		var l Limiter
		for i := range 3 * causes {
			at := time.Duration(i) * step
			if _, ok := l.Allow(at, fmt.Sprint(i)); !ok {
				t.Fatalf("cause %d was withheld", i)
			}
			if len(l.said) > causes {
				t.Fatalf("%d causes remembered", len(l.said))
			}
			if i > 0 && step > time.Microsecond {
				if _, ok := l.Allow(at, fmt.Sprint(i-1)); ok {
					t.Fatalf("cause %d was forgotten within %v", i-1, step)
				}
			}
		}
	}
}

func TestSame(t *testing.T) {
	if a, b := Same("no answer within 3s at revision 17"), Same("no answer within 10s at revision 9"); a != b || a == Same("refused") {
		t.Errorf("%q and %q", a, b)
	}
}

func TestGroup(t *testing.T) {
	if g := Group(t.Context()); g != "" {
		t.Errorf("group %q", g)
	}
	if g := Group(WithGroup(t.Context(), "orders")); g != "orders" {
		t.Errorf("group %q", g)
	}
}
