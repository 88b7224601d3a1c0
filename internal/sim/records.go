package sim

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"strings"

	"github.com/arloliu/parti/internal/core"
)

// What the checks read of the values in the store. These are not the types of
// the core, so that a mistake there is not made here too.

type headValue struct {
	Term      uint64      `json:"t"`
	Version   uint64      `json:"v"`
	Leader    string      `json:"l"`
	Lifecycle string      `json:"lc"`
	List      string      `json:"list"`
	Rebuild   bool        `json:"rb"`
	Seats     []seatValue `json:"w"`
}

type seatValue struct {
	Worker string   `json:"w"`
	Inc    string   `json:"i"`
	Part   refValue `json:"p"`
	Drain  refValue `json:"d"`
	Away   int64    `json:"a"`
}

type refValue struct {
	Term    uint64 `json:"t"`
	Version uint64 `json:"v"`
	Digest  string `json:"d"`
}

type partValue struct {
	Inc     string   `json:"inc"`
	Base    refValue `json:"b"`
	Removed []string `json:"r"`
	Grants  []struct {
		Term    uint64   `json:"t"`
		Version uint64   `json:"v"`
		IDs     []string `json:"p"`
	} `json:"g"`
}

type drainValue struct {
	Items []struct {
		ID   string `json:"p"`
		Inc  string `json:"i"`
		Next string `json:"n"`
	} `json:"d"`
}

type holderValue struct {
	Inc     string `json:"inc"`
	Revoked uint64 `json:"rev"`
	Term    uint64 `json:"t"`
}

func parse[T any](b []byte) (T, error) {
	var v T
	b, err := core.Readable(b)
	if err != nil {
		return v, fmt.Errorf("parse %q: %w", b, err)
	}
	if err := json.Unmarshal(b, &v); err != nil {
		return v, fmt.Errorf("parse %q: %w", b, err)
	}
	return v, nil
}

// nonceOf is the life that an incarnation belongs to.
func nonceOf(inc string) string {
	nonce, _, _ := strings.Cut(inc, "~")
	return nonce
}

func (r refValue) key(group, kind, worker string) string {
	return fmt.Sprintf("%s.%s.%s.%d.%d", group, kind, worker, r.Term, r.Version)
}

// read returns a value that a head names, checked against its digest.
func (w *World) read(r refValue, kind, worker string) ([]byte, error) {
	key := r.key(w.cfg.Group, kind, worker)
	e, err := w.kv.Get(int(core.Assignments), key)
	if err != nil {
		return nil, fmt.Errorf("the head names what is not there: %w", err)
	}
	if sum := sha256.Sum256(e.Val); hex.EncodeToString(sum[:8]) != r.Digest {
		return nil, fmt.Errorf("key %s does not match the digest in the head", key)
	}
	return e.Val, nil
}

// grant is a partition as the published head gives it to an incarnation.
type grant struct {
	worker, inc string
	token       core.Token
}

// published is what a head says, with all that it names.
type published struct {
	head   headValue
	grants map[string]grant
	next   map[string]string // of what is being drained
	drains int
}

// publish reads what a head names.
func (w *World) publish(val []byte) (published, error) {
	head, err := parse[headValue](val)
	if err != nil {
		return published{}, err
	}
	p := published{head: head, grants: map[string]grant{}, next: map[string]string{}}
	seated := map[string]bool{}
	for _, s := range head.Seats {
		if seated[s.Worker] {
			return p, fmt.Errorf("%s has two seats", s.Worker)
		}
		seated[s.Worker] = true
	}
	for _, s := range head.Seats {
		if s.Part.Version != 0 {
			inc, granted, err := w.payload(s.Part, s.Worker)
			if err != nil {
				return p, err
			}
			if inc != s.Inc {
				return p, fmt.Errorf("the payload of %s is for incarnation %s, the head names %s", s.Worker, inc, s.Inc)
			}
			for id, token := range granted {
				if other, ok := p.grants[id]; ok {
					return p, fmt.Errorf("partition %s is granted to %s and to %s", id, other.worker, s.Worker)
				}
				p.grants[id] = grant{s.Worker, s.Inc, token}
			}
		}
		if s.Drain.Version == 0 {
			continue
		}
		b, err := w.read(s.Drain, "drain", s.Worker)
		if err != nil {
			return p, err
		}
		rec, err := parse[drainValue](b)
		if err != nil {
			return p, err
		}
		p.drains += len(rec.Items)
		for _, d := range rec.Items {
			if d.Next == "" {
				continue
			}
			if other, ok := p.next[d.ID]; ok && other != d.Next {
				return p, fmt.Errorf("partition %s is to go to %s and to %s", d.ID, other, d.Next)
			}
			if !seated[d.Next] {
				return p, fmt.Errorf("partition %s is to go to %s, which has no seat", d.ID, d.Next)
			}
			p.next[d.ID] = d.Next
		}
	}
	return p, nil
}

// payload reads what a worker is granted: a base, or what a delta makes of one.
func (w *World) payload(r refValue, worker string) (inc string, granted map[string]core.Token, err error) {
	b, err := w.read(r, "part", worker)
	if err != nil {
		return "", nil, err
	}
	rec, err := parse[partValue](b)
	if err != nil {
		return "", nil, err
	}
	granted = map[string]core.Token{}
	if rec.Base.Version != 0 {
		if _, granted, err = w.payload(rec.Base, worker); err != nil {
			return "", nil, err
		}
	}
	for _, id := range rec.Removed {
		delete(granted, id)
	}
	for _, g := range rec.Grants {
		for _, id := range g.IDs {
			granted[id] = core.Token{Term: g.Term, Version: g.Version}
		}
	}
	return rec.Inc, granted, nil
}
