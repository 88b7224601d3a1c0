package subscription

import (
	"strings"
	"testing"

	"github.com/arloliu/parti"
)

func TestDurableNames(t *testing.T) {
	for id, want := range map[string]string{
		"orders.0":  "w-orders_0",
		"a_b.c":     "w-a=5Fb_c",
		"a=b":       "w-a=3Db",
		"a/b\\c":    "w-a=2Fb=5Cc",
		"a%2Eb":     "w-a%2Eb",
		"größe.äöü": "w-größe_äöü",
	} {
		if got := durableName("w", id); got != want {
			t.Errorf("%s: %s, want %s", id, got, want)
		}
	}
	long := strings.Repeat("ä", 300)
	a, b := durableName("w", long+"1"), durableName("w", long+"2")
	if a == b || len(a) > maxName || !validName(a) {
		t.Errorf("long names %q and %q", a, b)
	}
}

// Different partitions have different names, and every name is valid.
func FuzzDurableName(f *testing.F) {
	f.Add("a", "b", "a.b")
	f.Add("a_", "b", "a._b")
	f.Add("a=", "2E", "a=2E")
	f.Fuzz(func(t *testing.T, x, y, z string) {
		if x == "" || y == "" || z == "" {
			return
		}
		all := map[string]string{}
		for _, p := range []parti.Partition{part(x), part(y), part(z), part(x, y), part(y, x), part(x, y, z), part(x + y), part(x + "_" + y)} {
			name := durableName("w", p.ID())
			if !validName(name) || len(name) > maxName {
				t.Errorf("%q: bad name %q", p.Keys, name)
			}
			if other, taken := all[name]; taken && other != p.ID() {
				t.Errorf("%s and %s are both %s", other, p.ID(), name)
			}
			all[name] = p.ID()
		}
	})
}

func TestSubjects(t *testing.T) {
	for _, c := range []struct {
		a, b            string
		collide, subset bool
	}{
		{"a.b", "a.b", true, true},
		{"a.b", "a.c", false, false},
		{"a.b", "a.*", true, true},
		{"a.*", "a.b", true, false},
		{"a.b.c", "a.>", true, true},
		{"a", "a.>", false, false},
		{"a.>", "a.>", true, true},
		{"a.>", "a.*", true, false},
		{"a.*.c", "a.b.*", true, false},
		{"a.b", "a.b.c", false, false},
		{"a.b", ">", true, true},
	} {
		a, b := strings.Split(c.a, "."), strings.Split(c.b, ".")
		if collide(a, b) != c.collide || collide(b, a) != c.collide || subset(a, b) != c.subset {
			t.Errorf("%s, %s: collide %v, subset %v", c.a, c.b, collide(a, b), subset(a, b))
		}
	}
	for s, want := range map[string]bool{"a": true, "a.b": true, "a.*.>": true, "": false, "a..b": false, "a.>.b": false, "a b": false, "a*": false, ".a": false} {
		if validSubject(s) != want {
			t.Errorf("%q valid: %v", s, !want)
		}
	}
}
