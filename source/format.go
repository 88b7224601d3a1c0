package source

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"unicode/utf8"

	"github.com/arloliu/parti"
)

// ErrMalformed says that a list of partitions cannot be used as it is; the text
// says why.
var ErrMalformed = errors.New("malformed list of partitions")

// format is the version of the value that this package writes.
const format = 1

// listValue is a list of partitions as it is stored.
type listValue struct {
	Format     int              `json:"format"`
	Partitions []partitionValue `json:"partitions"`
}

type partitionValue struct {
	Keys   []string `json:"keys"`
	Weight int64    `json:"weight,omitempty"`
}

func encode(partitions []parti.Partition) ([]byte, error) {
	if err := check(partitions); err != nil {
		return nil, err
	}
	v := listValue{Format: format, Partitions: make([]partitionValue, len(partitions))}
	for i, p := range partitions {
		v.Partitions[i] = partitionValue(p)
	}
	return json.Marshal(v)
}

func decode(b []byte) ([]parti.Partition, error) {
	malformed := func(reason string, args ...any) ([]parti.Partition, error) {
		return nil, fmt.Errorf("%w: %s: write it with source.PutNATSKV", ErrMalformed, fmt.Sprintf(reason, args...))
	}
	var head struct {
		Format *int `json:"format"`
	}
	if !utf8.Valid(b) { // JSON would take the bad bytes for equal
		return malformed("the value is not UTF-8")
	}
	switch err := json.Unmarshal(b, &head); {
	case err != nil:
		return malformed("%v", err)
	case head.Format == nil:
		return malformed(`no "format"`)
	case *head.Format > format:
		return nil, fmt.Errorf("%w: format %d, and this version reads %d: upgrade this worker", ErrMalformed, *head.Format, format)
	case *head.Format < format:
		return malformed("format %d", *head.Format)
	}
	var v listValue
	d := json.NewDecoder(bytes.NewReader(b))
	d.DisallowUnknownFields()
	if err := d.Decode(&v); err != nil {
		return malformed("%v", err)
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return malformed("something follows the list")
	}
	if v.Partitions == nil {
		return malformed(`no "partitions": an empty list is written as []`)
	}
	list := make([]parti.Partition, len(v.Partitions))
	for i, p := range v.Partitions {
		list[i] = parti.Partition(p)
	}
	if err := check(list); err != nil {
		return nil, err
	}
	return list, nil
}

// check says why a manager would refuse a list.
func check(partitions []parti.Partition) error {
	seen := make(map[string]int, len(partitions))
	for i, p := range partitions {
		id := p.ID()
		other, twice := seen[id]
		switch {
		case len(p.Keys) == 0:
			return fmt.Errorf("%w: partition %d has no keys: give it at least one", ErrMalformed, i)
		case slices.Contains(p.Keys, ""):
			return fmt.Errorf("%w: partition %d, %q: empty key: leave it out or name it", ErrMalformed, i, p.Keys)
		case slices.ContainsFunc(p.Keys, func(k string) bool { return !utf8.ValidString(k) }):
			return fmt.Errorf("%w: partition %d, %q: not UTF-8", ErrMalformed, i, p.Keys)
		case twice:
			return fmt.Errorf("%w: partition %d, %s, is the same as partition %d", ErrMalformed, i, id, other)
		}
		seen[id] = i
	}
	return nil
}
