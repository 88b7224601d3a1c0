package subscription

import (
	"context"
	"fmt"
	"hash/fnv"
	"slices"
	"strconv"
	"strings"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/arloliu/parti"
)

// Slots spreads a large space of keys over a fixed number of partitions: with a
// durable for each key, some hundreds of keys are the limit; with slots, a durable
// serves all keys of a slot. The server does the spreading, by a transform of the
// stream (nats-server 2.10 and later), so that publishers know nothing of it.
//
// Messages of one key are in one slot, and so completed in their order; messages
// of different keys of a slot wait for each other.
type Slots struct {
	count  int
	prefix []string // literal tokens before the first wildcard
	rest   []string // tokens from the first wildcard on
	key    []int    // wildcards that make the key, from 1
}

// NewSlots makes count slots of what is published to subject, in which "*" stands
// for the parts of the key, as in "orders.*" or "orders.*.*.placed". The subject
// begins with a token that is no wildcard. key tells which of the wildcards make
// the key, the first being 1; without it all do.
func NewSlots(subject string, count int, key ...int) (*Slots, error) {
	tokens := strings.Split(subject, ".")
	first := slices.Index(tokens, "*")
	switch {
	case !validSubject(subject) || slices.Contains(tokens, ">"):
		return nil, fmt.Errorf("%w: slots of %q: not a subject with *", ErrInvalidConfig, subject)
	case strings.Contains(subject, "{{") || strings.Contains(subject, "}}"):
		return nil, fmt.Errorf("%w: slots of %q: {{ and }} mean something to the server", ErrInvalidConfig, subject)
	case first < 1:
		return nil, fmt.Errorf("%w: slots of %q: want a literal token and then a * for the key", ErrInvalidConfig, subject)
	case count < 1:
		return nil, fmt.Errorf("%w: slots of %q: %d is no number of slots", ErrInvalidConfig, subject, count)
	}
	s := &Slots{count: count, prefix: tokens[:first], rest: tokens[first:], key: slices.Clone(key)}
	for i := 1; i <= s.wildcards() && len(key) == 0; i++ {
		s.key = append(s.key, i)
	}
	for _, k := range s.key {
		if k < 1 || k > s.wildcards() {
			return nil, fmt.Errorf("%w: slots of %q: there is no wildcard %d", ErrInvalidConfig, subject, k)
		}
	}
	return s, nil
}

func (s *Slots) wildcards() int {
	n := 0
	for _, t := range s.rest {
		if t == "*" {
			n++
		}
	}
	return n
}

func (s *Slots) subject(slot string) string {
	tokens := slices.Clone(s.prefix)
	if slot != "" {
		tokens = append(tokens, slot)
	}
	return strings.Join(append(tokens, s.rest...), ".")
}

// Subjects are what the stream must take: what is published, and how it is stored,
// with the number of the slot before the key ("orders.*" and "orders.*.*").
// Publish to the former only: what is sent to the latter goes to the slot that it
// names, wherever its key belongs, or to none.
func (s *Slots) Subjects() []string { return []string{s.subject(""), s.subject("*")} }

// Transform is the SubjectTransform of the stream.
func (s *Slots) Transform() *jetstream.SubjectTransformConfig {
	key := make([]string, len(s.key))
	for i, k := range s.key {
		key[i] = strconv.Itoa(k)
	}
	dest := append(slices.Clone(s.prefix), fmt.Sprintf("{{partition(%d,%s)}}", s.count, strings.Join(key, ",")))
	n := 0
	for _, t := range s.rest {
		if t == "*" {
			n++
			t = fmt.Sprintf("{{wildcard(%d)}}", n)
		}
		dest = append(dest, t)
	}
	return &jetstream.SubjectTransformConfig{Source: s.subject(""), Destination: strings.Join(dest, ".")}
}

// Template is the SubjectTemplate with which a [DurableHelper] consumes slots.
func (s *Slots) Template() string { return s.subject("{{.PartitionID}}") }

// Partitions are the slots, to be divided among workers: give them to
// source.NewStatic. The key of each is its number.
func (s *Slots) Partitions() []parti.Partition {
	ps := make([]parti.Partition, s.count)
	for i := range ps {
		ps[i] = parti.Partition{Keys: []string{strconv.Itoa(i)}}
	}
	return ps
}

// Of returns the slot of a key, whose parts are the tokens that stand for the key's
// wildcards. It is how the server finds it.
func (s *Slots) Of(key ...string) int {
	h := fnv.New32a()
	for _, part := range key {
		_, _ = h.Write([]byte(part)) // never fails
	}
	return int(h.Sum32() % uint32(s.count))
}

// Drained reports whether everything up to a sequence number of the stream has
// been completed in all slots: every slot has a durable, and it has acknowledged
// what comes before or waits for nothing. The number of slots can be doubled then
// without changing the order of a key's messages: see docs/slots.md.
func (s *Slots) Drained(ctx context.Context, stream jetstream.Stream, upTo uint64) (bool, error) {
	open := make(map[string]bool, s.count)
	for i := range s.count {
		open[s.subject(strconv.Itoa(i))] = true
	}
	list := stream.ListConsumers(ctx)
	for info := range list.Info() {
		if info.AckFloor.Stream >= upTo || info.NumPending == 0 && info.NumAckPending == 0 {
			delete(open, info.Config.FilterSubject)
		}
	}
	if err := list.Err(); err != nil {
		return false, fmt.Errorf("list consumers: %w", err)
	}
	return len(open) == 0, nil
}
