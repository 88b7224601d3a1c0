package parti

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"

	"github.com/nats-io/nats-server/v2/server"
)

func TestPartitionID(t *testing.T) {
	for _, tc := range []struct {
		keys []string
		want string
	}{
		{[]string{"orders", "0"}, "orders.0"},
		{[]string{"us-west", "payment", "shard-1"}, "us-west.payment.shard-1"},
		{[]string{"queue-a"}, "queue-a"},
		{[]string{"a.b"}, "a%2Eb"},
		{[]string{"a", "b"}, "a.b"},
		{[]string{"*", ">"}, "%2A.%3E"},
		{[]string{"100%"}, "100%25"},
		{[]string{"%2E"}, "%252E"},
		{[]string{"a b\tc\r\n\x00\x7f"}, "a%20b%09c%0D%0A%00%7F"},
		{[]string{"Köln", "東京"}, "Köln.東京"},
		{[]string{"K\xf6ln"}, "K%F6ln"},
		{[]string{"東\xe6\x9d.京"}, "東%E6%9D%2E京"},
		{[]string{"\uFFFD"}, "\uFFFD"},
		{nil, ""},
	} {
		p := Partition{Keys: tc.keys}
		if got := p.ID(); got != tc.want {
			t.Errorf("%q: got %q, want %q", tc.keys, got, tc.want)
		}
		if p.String() != p.ID() {
			t.Errorf("%q: String %q is not ID %q", tc.keys, p, p.ID())
		}
	}
}

// Every list of one or two keys of one or two of these characters.
func TestPartitionIDIsInjective(t *testing.T) {
	alphabet := []string{"a", ".", "%", "2", "E", "*", " ", "é", "\xc3", "\xa9"}
	var keys []string
	for _, a := range alphabet {
		keys = append(keys, a)
		for _, b := range alphabet {
			keys = append(keys, a+b)
		}
	}
	slices.Sort(keys)
	keys = slices.Compact(keys) // "\xc3"+"\xa9" is "é"
	seen := make(map[string][]string)
	check := func(list ...string) {
		id := Partition{Keys: list}.ID()
		if other, taken := seen[id]; taken {
			t.Fatalf("%q and %q share the id %q", list, other, id)
		}
		seen[id] = list
		checkID(t, list)
	}
	for _, a := range keys {
		check(a)
		for _, b := range keys {
			check(a, b)
		}
	}
}

// checkID checks what holds for the id of every valid partition.
func checkID(t *testing.T, keys []string) {
	t.Helper()
	id := Partition{Keys: keys}.ID()
	if !server.IsValidLiteralSubject(id) {
		t.Fatalf("%q: the id %q is no subject", keys, id)
	}
	if strings.ContainsAny(id, " \t\r\n\x00") || strings.Count(id, ".") != len(keys)-1 {
		t.Fatalf("%q: bad id %q", keys, id)
	}
	back, err := partitionFromID(id, 7)
	if err != nil || !slices.Equal(back.Keys, keys) || back.Weight != 7 {
		t.Fatalf("%q: the id %q leads to %q, %v", keys, id, back.Keys, err)
	}
	text, err := json.Marshal(id)
	if err != nil {
		t.Fatal(err)
	}
	var read string
	if err := json.Unmarshal(text, &read); err != nil || read != id {
		t.Fatalf("%q: the id %q is %q after JSON, %v", keys, id, read, err)
	}
}

func FuzzPartitionID(f *testing.F) {
	f.Add("orders|0", "orders.0")
	f.Add("a%|2E", "a|%2E")
	f.Add("\xff", "\xfe|é")
	f.Fuzz(func(t *testing.T, a, b string) {
		p, q := Partition{Keys: strings.Split(a, "|")}, Partition{Keys: strings.Split(b, "|")}
		if p.validate() != nil || q.validate() != nil {
			return
		}
		checkID(t, p.Keys)
		if a != b && p.ID() == q.ID() {
			t.Fatalf("%q and %q share the id %q", p.Keys, q.Keys, p.ID())
		}
		// A text that can be read as an id is the id of what was read.
		if r, err := partitionFromID(a, 1); err == nil && r.ID() != a {
			t.Fatalf("%q was read as %q, whose id is %q", a, r.Keys, r.ID())
		}
	})
}

func TestPartitionFromIDRefuses(t *testing.T) {
	for _, id := range []string{
		"", ".", "a.", ".a", "a..b", // empty keys
		"%", "a%2", "%2G", "%zz", // no escapes
		"%2e", "%41", "a%C3%A9", // escapes that ID does not write
		"a b", "*", "a.>", "\x00", "\xff", "a\xff%2E", "a %2E", // what ID escapes
	} {
		if p, err := partitionFromID(id, 1); err == nil {
			t.Errorf("%q was read as %q", id, p.Keys)
		}
	}
}

func TestPartitionValidate(t *testing.T) {
	for want, keys := range map[string][]string{
		"":                          {"a", "b"},
		"partition without keys":    {},
		`["a" ""]: key 1 is empty`:  {"a", ""},
		`["" "b" ""]: key 0 is emp`: {"", "b", ""},
	} {
		err := Partition{Keys: keys}.validate()
		if (want == "") != (err == nil) || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v", keys, err)
		}
	}
}

func TestPartitionCompare(t *testing.T) {
	ascending := []Partition{
		{},
		{Keys: []string{"a"}},
		{Keys: []string{"a", "b"}, Weight: -1},
		{Keys: []string{"a", "b"}},
		{Keys: []string{"a", "b"}, Weight: 100},
		{Keys: []string{"a", "c"}},
		{Keys: []string{"a-"}},
		{Keys: []string{"b"}, Weight: 1},
	}
	for i, p := range ascending {
		for j, q := range ascending {
			if got, want := p.Compare(q), compareInts(i, j); got != want {
				t.Errorf("%v (%d) and %v (%d): got %d, want %d", p, p.Weight, q, q.Weight, got, want)
			}
		}
	}
}

func compareInts(i, j int) int {
	switch {
	case i < j:
		return -1
	case i > j:
		return 1
	}
	return 0
}

func BenchmarkPartitionID(b *testing.B) {
	for name, keys := range map[string][]string{"plain": {"orders", "12345"}, "escaped": {"orders.v2", "100 %"}} {
		b.Run(name, func(b *testing.B) {
			p := Partition{Keys: keys}
			b.ReportAllocs()
			for b.Loop() {
				_ = p.ID()
			}
		})
	}
}
