package subscription

import (
	"errors"
	"strings"
	"testing"

	"github.com/nats-io/nats-server/v2/server"
)

// FuzzSubjectTemplate renders partitions by any template: what comes out is a subject
// that the server takes, and two partitions share none without being told.
func FuzzSubjectTemplate(f *testing.F) {
	f.Add("dc.{{.PartitionID}}.done", "orders|0", "orders|1")
	f.Add("{{index .Keys 0}}.*.{{index .Keys 1}}.>", "a|b", "a|c")
	f.Add("x.{{range .Keys}}{{.}}{{end}}", "ab|c", "a|bc")
	f.Add("{{.Nothing}}", "a", "b")
	f.Add("{{template `x`}}{{define `x`}}{{template `x`}}{{end}}", "a", "b")
	f.Add("a.{{printf `%s>` .PartitionID}}", "*|>", "% |\x00")
	f.Fuzz(func(t *testing.T, text, a, b string) {
		if strings.Contains(text, "range") && strings.ContainsAny(text, "0123456789") || strings.Contains(text, "while") {
			return // a template of the user's own may count to a billion
		}
		s, err := parseSubjects(text)
		if err != nil {
			if !errors.Is(err, ErrInvalidConfig) {
				t.Fatalf("not ErrInvalidConfig: %v", err)
			}
			return
		}
		p, q := part(strings.Split(a, "|")...), part(strings.Split(b, "|")...)
		x, errX := s.of(p)
		y, errY := s.of(q)
		for _, err := range []error{errX, errY} {
			if err != nil && !errors.Is(err, ErrSubject) {
				t.Fatalf("not ErrSubject: %v", err)
			}
		}
		if errX != nil || errY != nil {
			return
		}
		for _, subject := range []string{x, y} {
			if !server.IsValidSubject(subject) {
				t.Errorf("%q yields %q, which is no subject", text, subject)
			}
		}
		if p.ID() == q.ID() {
			return
		}
		err = s.overlap(map[string]string{p.ID(): x, q.ID(): y})
		if shared := server.SubjectsCollide(x, y); shared != (err != nil) {
			t.Errorf("%q and %q overlap: %v, and told: %v", x, y, shared, err)
		}
	})
}

// FuzzSlots: the server takes the transform of slots, and finds the slot of a key
// where Of does.
func FuzzSlots(f *testing.F) {
	f.Add("orders.*", 7, 1, "a", "b")
	f.Add("orders.*.*.placed", 1, 2, "a", "b")
	f.Add("o.*.x.*", 1<<20, 0, "größe", "%")
	f.Add("{{wildcard(1)}}.*", 3, 1, "{{", "}}")
	f.Fuzz(func(t *testing.T, subject string, count, key int, a, b string) {
		var keys []int
		if key != 0 {
			keys = []int{key}
		}
		s, err := NewSlots(subject, count, keys...)
		if err != nil {
			if !errors.Is(err, ErrInvalidConfig) {
				t.Fatalf("not ErrInvalidConfig: %v", err)
			}
			return
		}
		if !server.IsValidPublishSubject(a) || !server.IsValidPublishSubject(b) || strings.ContainsAny(a+b, ".") {
			return
		}
		tr, err := server.NewSubjectTransform(s.Transform().Source, s.Transform().Destination)
		if err != nil {
			t.Fatalf("%q, %d, %d: the server refuses %+v: %v", subject, count, key, s.Transform(), err)
		}
		published, of := strings.Split(s.Subjects()[0], "."), []string{}
		n := 0
		for i, token := range published {
			if token != "*" {
				continue
			}
			n++
			published[i] = []string{a, b}[n%2]
			if key == 0 || key == n {
				of = append(of, published[i])
			}
		}
		stored := tr.TransformSubject(strings.Join(published, "."))
		want := part(s.Partitions()[s.Of(of...)].Keys...)
		subjects, err := parseSubjects(s.Template())
		if err != nil {
			t.Fatal(err)
		}
		slot, err := subjects.of(want)
		if err != nil {
			t.Fatal(err)
		}
		if !subset(strings.Split(stored, "."), strings.Split(slot, ".")) {
			t.Errorf("%q is stored as %q, which is not in %q", published, stored, slot)
		}
	})
}
