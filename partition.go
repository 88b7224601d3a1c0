package parti

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"
)

// DefaultWeight is the weight of a partition that declares none.
const DefaultWeight = 100

// Partition is one unit of work that exactly one worker owns at a time.
type Partition struct {
	// Keys names the partition, from the general to the particular, for
	// example {"orders", "0"}. At least one key, none of them empty.
	Keys []string `json:"keys"`
	// Weight is the relative cost of processing the partition. Zero counts as
	// [DefaultWeight]; a list with a negative one is refused.
	Weight int64 `json:"weight"`
}

// ID returns the keys joined with '.', which is what a subject template calls
// {{.PartitionID}}. Characters that mean something in a NATS subject ('.', '*',
// '>'), the escape character '%', blanks and control characters of ASCII and
// bytes that are not UTF-8 are written as %XX, so that two partitions with
// different keys never share an id, be it as a subject or in JSON.
func (p Partition) ID() string {
	switch len(p.Keys) {
	case 0:
		return ""
	case 1:
		return escapeKey(p.Keys[0])
	}
	size := len(p.Keys) - 1
	for _, k := range p.Keys {
		size += len(k)
	}
	var b strings.Builder
	b.Grow(size) // all of it, but for escapes
	for i, k := range p.Keys {
		if i > 0 {
			b.WriteByte('.')
		}
		b.WriteString(escapeKey(k))
	}
	return b.String()
}

// String returns the id of the partition.
func (p Partition) String() string { return p.ID() }

// Compare orders partitions by their keys, one after the other, then by weight:
// negative when p comes before q, zero when they are equal, positive otherwise.
// The order of ids can differ, since '.' comes after '-' there: {"a-"} is
// before {"a", "b"} by id, and after it by keys.
func (p Partition) Compare(q Partition) int {
	return cmp.Or(slices.Compare(p.Keys, q.Keys), cmp.Compare(p.Weight, q.Weight))
}

// validate says what is wrong with a partition, or nil.
func (p Partition) validate() error {
	if len(p.Keys) == 0 {
		return errors.New("partition without keys: give it at least one")
	}
	for i, k := range p.Keys {
		if k == "" {
			return fmt.Errorf("partition %q: key %d is empty: leave it out or name it", p.Keys, i)
		}
	}
	if p.Weight < 0 {
		return fmt.Errorf("partition %q: weight %d is negative: leave it out for the default of %d", p, p.Weight, DefaultWeight)
	}
	return nil
}

// reserved tells the ASCII characters that may not stand in an id as they are.
func reserved(c byte) bool {
	return c <= ' ' || c == 0x7f || c == '.' || c == '*' || c == '>' || c == '%'
}

const hexDigits = "0123456789ABCDEF"

// escapeKey returns k as it stands in an id. Bytes that are not UTF-8 are escaped
// because JSON would replace them all by the same character.
func escapeKey(k string) string {
	if plainKey(k) {
		return k
	}
	b := make([]byte, 0, 3*len(k))
	for i := 0; i < len(k); {
		_, n := utf8.DecodeRuneInString(k[i:])
		switch c := k[i]; {
		case n > 1:
			b = append(b, k[i:i+n]...)
		case reserved(c) || c >= utf8.RuneSelf:
			b = append(b, '%', hexDigits[c>>4], hexDigits[c&15])
		default:
			b = append(b, c)
		}
		i += n
	}
	return string(b)
}

// plainKey reports whether k can stand in an id as it is, as nearly all keys can.
func plainKey(k string) bool {
	ascii := true
	for i := range len(k) {
		if reserved(k[i]) {
			return false
		}
		ascii = ascii && k[i] < utf8.RuneSelf
	}
	return ascii || utf8.ValidString(k)
}

// partitionFromID is the inverse of ID. It refuses what ID does not return, so
// that a partition has no second id.
func partitionFromID(id string, weight int64) (Partition, error) {
	keys := strings.Split(id, ".")
	for i, k := range keys {
		u, err := unescapeKey(k)
		if err != nil {
			return Partition{}, fmt.Errorf("partition id %q: %w", id, err)
		}
		keys[i] = u
	}
	p := Partition{Keys: keys, Weight: weight}
	if err := p.validate(); err != nil {
		return Partition{}, fmt.Errorf("partition id %q: %w", id, err)
	}
	return p, nil
}

func unescapeKey(k string) (string, error) {
	if !strings.Contains(k, "%") {
		if !plainKey(k) {
			return "", fmt.Errorf("%q is not escaped", k)
		}
		return k, nil
	}
	b := make([]byte, 0, len(k))
	for i := 0; i < len(k); i++ {
		if k[i] != '%' {
			b = append(b, k[i])
			continue
		}
		if i+2 >= len(k) {
			return "", fmt.Errorf("cut off escape %q", k[i:])
		}
		hi, lo := strings.IndexByte(hexDigits, k[i+1]), strings.IndexByte(hexDigits, k[i+2])
		if hi < 0 || lo < 0 {
			return "", fmt.Errorf("bad escape %q", k[i:i+3])
		}
		b = append(b, byte(hi<<4|lo))
		i += 2
	}
	u := string(b)
	if want := escapeKey(u); want != k {
		return "", fmt.Errorf("%q is not escaped as %q", k, want)
	}
	return u, nil
}
