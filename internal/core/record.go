package core

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"
	"time"
)

// format is the version of the values in NATS. A reader understands its own and
// the one before, and refuses later ones.
const format = 1

// ErrForeign says that a value was written in a format that this version does
// not understand, or is not a value of ours at all.
var ErrForeign = errors.New("value of another format")

// millis is a duration on the wire, in milliseconds.
type millis int64

func toMillis(d time.Duration) millis { return millis(d / time.Millisecond) }

// duration is between nothing and a hundred days, whatever was written, so that
// sums of durations do not overflow.
func (m millis) duration() time.Duration {
	return time.Duration(min(max(m, 0), 100*24*3600*1000)) * time.Millisecond
}

// idRecord is the value of an id key: who holds the id.
type idRecord struct {
	formatted
	Inc  string  `json:"inc"`
	Host string  `json:"host,omitempty"`
	Proc Process `json:"proc"`
	TTL  millis  `json:"ttl"`
}

// ticketRecord is the value of a ticket; its place is its revision.
type ticketRecord struct {
	formatted
}

// hbRecord is the value of a heartbeat key.
type hbRecord struct {
	formatted
	Inc       string  `json:"inc"`
	Seq       uint64  `json:"n"` // makes every heartbeat a change
	TTL       millis  `json:"ttl"`
	Interval  millis  `json:"iv"`
	Window    millis  `json:"win"` // its PlannedScaleWindow
	Exclusive bool    `json:"x,omitempty"`
	Allowance millis  `json:"allow,omitempty"`
	Server    string  `json:"srv,omitempty"`
	Applied   version `json:"ap"`
	List      string  `json:"list,omitempty"` // digest of the last list its own source gave
	Refresh   uint64  `json:"rf,omitempty"`   // count of refreshes asked for
	Leaving   bool    `json:"leave,omitempty"`
	Released  bool    `json:"rel,omitempty"`  // leaving, and nothing runs any more
	Took      string  `json:"took,omitempty"` // incarnation that has let go of this id, or is known dead
	Answered  bool    `json:"ans,omitempty"`  // this incarnation has answered a probe
	Degraded  bool    `json:"deg,omitempty"`  // its assignment is frozen: it takes nothing new
	Idle      millis  `json:"idle,omitempty"` // for how long nothing has run of what the incarnation before was granted
	Revoked   uint64  `json:"rev,omitempty"`  // term of the leader that ended this incarnation

	Capacity *float64          `json:"cap,omitempty"` // nil = 1
	Labels   map[string]string `json:"lab,omitempty"`
}

// leaderRecord is the value of the leader key.
type leaderRecord struct {
	formatted
	Worker string `json:"w"`
	Inc    string `json:"inc"`
	Term   uint64 `json:"t"`
	TTL    millis `json:"ttl"`
	Seq    uint64 `json:"n"`
	// What its followers need to judge it, as in its heartbeat.
	Interval  millis `json:"iv,omitempty"`
	Allowance millis `json:"allow,omitempty"`
	Server    string `json:"srv,omitempty"`
	Answered  bool   `json:"ans,omitempty"`
	Watch     string `json:"wt,omitempty"` // name of its watch on the head
}

// version is a place in the history of heads: terms first.
type version struct {
	Term    uint64 `json:"t"`
	Version uint64 `json:"v"`
}

func (a version) less(b version) bool {
	return a.Term < b.Term || a.Term == b.Term && a.Version < b.Version
}

func (a version) String() string {
	return strconv.FormatUint(a.Term, 10) + "." + strconv.FormatUint(a.Version, 10)
}

// ref names a payload or a drain list: the commit that wrote it, and the digest
// of its bytes. The zero ref names nothing, which is empty.
type ref struct {
	Worker  string `json:"-"`
	Term    uint64 `json:"t,omitempty"`
	Version uint64 `json:"v,omitempty"`
	Digest  sum    `json:"d,omitzero"`
}

// sum is the beginning of the SHA-256 of a value.
type sum [8]byte

func digest(b []byte) sum {
	full := sha256.Sum256(b)
	return sum(full[:])
}

func (s sum) String() string { return hex.EncodeToString(s[:]) }

// MarshalText is for the form in JSON.
func (s sum) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// UnmarshalText takes any text, as no value has the digest of a wrong one.
func (s *sum) UnmarshalText(b []byte) error {
	*s = sum{}
	if _, err := hex.Decode(s[:], b[:min(len(b), 2*len(s))]); err != nil {
		return fmt.Errorf("digest %q: %w", b, err)
	}
	return nil
}

func (r ref) none() bool { return r.Version == 0 }

// headRecord is the value of the head: the one commit point.
type headRecord struct {
	formatted
	Term      uint64 `json:"t"`
	Version   uint64 `json:"v"`
	Leader    string `json:"l"`
	LeaderInc string `json:"li"`
	// Rebuild: the head was lost, and what workers hold is not known yet. They
	// keep it, and say what it is, until it is published.
	Rebuild bool `json:"rb,omitempty"`
	// Owes: the plan could not do all that it should, and another is due.
	Owes bool `json:"ow,omitempty"`
	// Root is the term in which the line of heads began, and Base the head on
	// which the present term is based; see lost.go.
	Root      uint64     `json:"rt,omitempty"`
	Base      version    `json:"b,omitzero"`
	Lease     millis     `json:"ls,omitempty"` // the longest of the fleet
	Lifecycle string     `json:"lc"`
	Window    millis     `json:"win,omitempty"` // what remained of the window at the commit
	Created   string     `json:"c,omitempty"`   // of the bucket
	App       string     `json:"app,omitempty"`
	List      string     `json:"list,omitempty"` // digest of the list of partitions
	Seats     []headSeat `json:"w"`
}

// headSeat is one worker in the head.
type headSeat struct {
	Worker string `json:"w"`
	Inc    string `json:"i"`
	Part   ref    `json:"p,omitzero"`
	Drain  ref    `json:"d,omitzero"`
	// Away is set while a graceful leaver may still come back: what remained
	// of its window at the commit.
	Away millis `json:"a,omitempty"`
	// Capacity is what the worker had when it was last planned for; nil = 1.
	Capacity *float64 `json:"c,omitempty"`
	// Vacant: the incarnation has let go of everything it was granted.
	Vacant bool `json:"x,omitempty"`
}

func (h *headRecord) at() version { return version{h.Term, h.Version} }

// partRecord is a payload: what one worker is granted. With a base it is a
// delta: what that base says, without what is removed or granted here.
type partRecord struct {
	formatted
	Inc     string      `json:"inc"`
	Base    ref         `json:"b,omitzero"`
	Removed []string    `json:"r,omitempty"`
	Grants  []grantList `json:"g"`
}

// chunkRecord is a part of a value that is too large for one key. The first
// stands under the key of the whole, and tells how many there are.
type chunkRecord struct {
	formatted
	Count int    `json:"n,omitempty"`
	Data  []byte `json:"d"`
}

// grantList holds the partitions that share a token.
type grantList struct {
	Term    uint64   `json:"t"`
	Version uint64   `json:"v"`
	IDs     []string `json:"p"`
	Weights []int64  `json:"w"`
}

// heldRecord is what a worker holds, while no head says so.
type heldRecord struct {
	formatted
	Inc string `json:"inc"`
	Seq uint64 `json:"n"`
	// For is the term of the rebuilding leader that this answers. Zero: it has
	// seen none, and complains that the line Root is broken.
	For     uint64      `json:"for,omitempty"`
	Root    uint64      `json:"rt,omitempty"`
	Seen    uint64      `json:"s"` // the term of the head that it last obeyed
	Term    uint64      `json:"t"` // the highest term and version it has ever seen
	Version uint64      `json:"v"`
	Lease   millis      `json:"ls"` // the longest of the fleet, as far as it knows
	Named   bool        `json:"nm,omitempty"`
	Grants  []grantList `json:"g,omitempty"`
	// Drains: given up, and work may not have ended.
	Drains []heldDrain `json:"d,omitempty"`
}

type heldDrain struct {
	ID     string `json:"p"`
	Weight int64  `json:"w"`
}

// drainRecord lists what one worker may still be working on although it is no
// longer granted.
type drainRecord struct {
	formatted
	Items []drainEntry `json:"d"`
}

type drainEntry struct {
	ID      string  `json:"p"`
	Weight  int64   `json:"w"`
	Inc     string  `json:"i"` // the holder's incarnation
	Next    string  `json:"n,omitempty"`
	Release version `json:"r"` // released when the holder has applied this
}

// encode never fails: the records hold nothing that JSON cannot carry.
func encode(rec any) []byte {
	if p, ok := rec.(packer); ok {
		return packRecord(p, &deflater{})
	}
	b, err := json.Marshal(rec)
	if err != nil {
		panic(fmt.Sprintf("core: encode %T: %v", rec, err))
	}
	return b
}

// formatted is embedded in every record: the format version of the value.
type formatted struct {
	Format int `json:"f"`
}

func (f formatted) formatVersion() int { return f.Format }

// ours is what a record of the present format begins with.
var ours = formatted{format}

// decode reads a record and checks its format.
func decode[T interface{ formatVersion() int }](b []byte) (T, error) {
	var rec, none T
	var err error
	if p, ok := any(&rec).(unpacker); ok && len(b) > 0 && b[0] == packed {
		err = unpackRecord(b, p)
	} else {
		err = json.Unmarshal(b, &rec)
	}
	if err != nil {
		return none, fmt.Errorf("%w: %w", ErrForeign, err)
	}
	switch v := rec.formatVersion(); {
	case v > format:
		return none, fmt.Errorf("%w: %w %d, this one reads up to %d", ErrForeign, errNewer, v, format)
	case v < 1:
		return none, fmt.Errorf("%w: without a version", ErrForeign)
	}
	if c, ok := any(&rec).(interface{ check() error }); ok {
		if err := c.check(); err != nil {
			return none, fmt.Errorf("%w: %w", ErrForeign, err)
		}
	}
	return rec, nil
}

// countable bounds terms and versions, so that there is always a next one.
const countable = 1 << 62

var errCount = errors.New("a term or version beyond counting")

var errLine = errors.New("a line of heads that begins after its own term")

// errNewer says that a value was written by a later version of this library.
var errNewer = errors.New("version")

var errNobody = errors.New("it names no incarnation")

func (r *idRecord) check() error { return checkInc(r.Inc) }

func (r *hbRecord) check() error { return checkInc(r.Inc) }

// capacity is the declared one, when that makes sense.
func capacity(c *float64) float64 {
	if c == nil || !(*c >= 0) || *c > math.MaxFloat32 {
		return 1
	}
	return *c
}

// declared leaves out the usual capacity.
func declared(c float64) *float64 {
	if c == 1 {
		return nil
	}
	return &c
}

func checkInc(inc string) error {
	if inc == "" {
		return errNobody
	}
	return nil
}

func (r *leaderRecord) check() error {
	if r.Worker == "" {
		return errNobody
	}
	if r.Term >= countable {
		return errCount
	}
	return nil
}

func (h *headRecord) check() error {
	if h.Term >= countable || h.Version >= countable {
		return errCount
	}
	if h.Root > h.Term || h.Base.Term > h.Term {
		return errLine
	}
	seen := make(map[string]bool, len(h.Seats))
	for _, s := range h.Seats {
		if s.Worker == "" || seen[s.Worker] {
			return fmt.Errorf("worker %q is named twice, or not at all", s.Worker)
		}
		seen[s.Worker] = true
	}
	return nil
}

func (h *heldRecord) check() error {
	if h.Term >= countable || h.Version >= countable || h.Seen >= countable {
		return errCount
	}
	if h.Root > h.Term {
		return errLine
	}
	for _, d := range h.Drains {
		if d.ID == "" || d.Weight <= 0 {
			return fmt.Errorf("partition %q of weight %d", d.ID, d.Weight)
		}
	}
	if err := checkInc(h.Inc); err != nil {
		return err
	}
	return checkGrants(h.Grants)
}

func (p *partRecord) check() error {
	if slices.Contains(p.Removed, "") {
		return errors.New("a partition without id is removed")
	}
	return checkGrants(p.Grants)
}

func checkGrants(grants []grantList) error {
	for _, g := range grants {
		if len(g.IDs) != len(g.Weights) {
			return errors.New("partitions and weights do not match")
		}
		for i, id := range g.IDs {
			if id == "" || g.Weights[i] <= 0 {
				return fmt.Errorf("partition %q of weight %d", id, g.Weights[i])
			}
		}
	}
	return nil
}
