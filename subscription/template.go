package subscription

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strings"
	"text/template"

	"github.com/arloliu/parti"
)

// subjects renders the subject of each partition.
type subjects struct {
	text string
	tmpl *template.Template
	// wild: the template itself has wildcards, so that two subjects that differ
	// may overlap.
	wild bool
}

// templateData is what a subject template may use.
type templateData struct {
	PartitionID string
	Keys        []string
}

func parseSubjects(text string) (*subjects, error) {
	tmpl, err := template.New("SubjectTemplate").Option("missingkey=error").Parse(text)
	if err != nil {
		return nil, fmt.Errorf("%w: SubjectTemplate %q: %w", ErrInvalidConfig, text, err)
	}
	s := &subjects{text: text, tmpl: tmpl, wild: strings.ContainsAny(text, "*>")}
	var seen []string
	for _, id := range []string{"a", "b"} { // many keys, so that a template may index them
		subject, err := s.execute(strings.Repeat(id+".", 15) + id)
		if err != nil {
			return nil, fmt.Errorf("%w: SubjectTemplate %q: %w", ErrInvalidConfig, text, err)
		}
		if !validSubject(subject) {
			return nil, fmt.Errorf("%w: SubjectTemplate %q: yields %q, which is no subject", ErrInvalidConfig, text, subject)
		}
		seen = append(seen, subject)
	}
	if seen[0] == seen[1] {
		return nil, fmt.Errorf("%w: SubjectTemplate %q: is the same for all partitions: use {{.PartitionID}}", ErrInvalidConfig, text)
	}
	return s, nil
}

func (s *subjects) execute(id string) (string, error) {
	var b strings.Builder
	err := s.tmpl.Execute(&b, templateData{PartitionID: id, Keys: strings.Split(id, ".")})
	return b.String(), err
}

// of returns the subject of a partition.
func (s *subjects) of(p parti.Partition) (string, error) {
	subject, err := s.execute(p.ID())
	if err != nil {
		return "", fmt.Errorf("%w: partition %s: SubjectTemplate %q: %w", ErrSubject, p, s.text, err)
	}
	if !validSubject(subject) {
		return "", fmt.Errorf("%w: partition %s: SubjectTemplate %q yields %q", ErrSubject, p, s.text, subject)
	}
	return subject, nil
}

// overlap says which two partitions share messages, or nil. subjects are by
// partition id.
func (s *subjects) overlap(subjects map[string]string) error {
	seen := make(map[string]string, len(subjects))
	for id, subject := range subjects {
		other, taken := seen[subject]
		if taken {
			return s.overlapError(id, subject, other, subject)
		}
		seen[subject] = id
	}
	if !s.wild {
		return nil
	}
	for a, ida := range seen {
		for b, idb := range seen {
			if ida < idb && collide(strings.Split(a, "."), strings.Split(b, ".")) {
				return s.overlapError(ida, a, idb, b)
			}
		}
	}
	return nil
}

func (s *subjects) overlapError(a, subjectA, b, subjectB string) error {
	return fmt.Errorf("%w: partitions %s (%s) and %s (%s) overlap: make SubjectTemplate %q tell them apart",
		ErrSubject, a, subjectA, b, subjectB, s.text)
}

// collide reports whether some subject matches both.
func collide(a, b []string) bool {
	for i := range min(len(a), len(b)) {
		switch {
		case a[i] == ">" || b[i] == ">":
			return true
		case a[i] != b[i] && a[i] != "*" && b[i] != "*":
			return false
		}
	}
	return len(a) == len(b)
}

// subset reports whether everything that sub matches is matched by super.
func subset(sub, super []string) bool {
	for i, t := range super {
		switch {
		case t == ">":
			return len(sub) > i
		case len(sub) <= i || sub[i] == ">" || t != "*" && t != sub[i]:
			return false
		}
	}
	return len(sub) == len(super)
}

// validSubject reports whether s may be subscribed to.
func validSubject(s string) bool {
	tokens := strings.Split(s, ".")
	for i, t := range tokens {
		switch {
		case t == "", strings.ContainsAny(t, " \t\r\n\f\x00"):
			return false
		case t == ">" && i < len(tokens)-1:
			return false
		case len(t) > 1 && strings.ContainsAny(t, "*>"):
			return false
		}
	}
	return true
}

const (
	maxPrefix = 64
	// maxName keeps names of durables within what servers and file systems take.
	maxName = 200
)

// validName reports whether s can name a stream or consumer.
func validName(s string) bool {
	return s != "" && !strings.ContainsAny(s, ">*. /\\\t\r\n\f\x00")
}

// durableName returns the name of the durable of a partition: readable, and
// different for different partitions. '.' becomes '_'; what a name cannot have,
// '_' and '=' are written =XX; what is too long ends in a digest instead, behind
// an '=' that no escape looks like.
func durableName(prefix, id string) string {
	var b strings.Builder
	b.WriteString(prefix)
	b.WriteByte('-')
	for i := range len(id) {
		switch c := id[i]; {
		case c == '.':
			b.WriteByte('_')
		case c == '_' || c == '=' || c == '/' || c == '\\' || c == '*' || c == '>' || c <= ' ' || c == 0x7f:
			fmt.Fprintf(&b, "=%02X", c)
		default:
			b.WriteByte(c)
		}
	}
	if b.Len() <= maxName {
		return b.String()
	}
	sum := sha256.Sum256([]byte(id))
	digest := hex.EncodeToString(sum[:16])
	return strings.ToValidUTF8(b.String()[:maxName-len(digest)-2], "") + "=h" + digest
}
