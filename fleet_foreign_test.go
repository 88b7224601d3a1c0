package parti_test

import (
	"bytes"
	"compress/flate"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/arloliu/parti"
	"github.com/arloliu/parti/internal/core"
	"github.com/arloliu/parti/internal/fleettest"
	"github.com/arloliu/parti/source"
	partitest "github.com/arloliu/parti/testing"
)

// seal makes a packed value of a body that nobody of us wrote, under a checksum
// that matches.
func seal(kind, how byte, body []byte) []byte {
	b := append([]byte{'p', kind, 1, how}, body...)
	return binary.LittleEndian.AppendUint32(b, crc32.Checksum(b, crc32.MakeTable(crc32.Castagnoli)))
}

// bomb inflates to nearly a gigabyte, and says that it becomes claimed. A flushed block
// is whole bytes that stand for themselves: one is made, and repeated.
func bomb(t *testing.T, kind byte, claimed uint64) []byte {
	t.Helper()
	var block bytes.Buffer
	w, err := flate.NewWriter(&block, flate.BestSpeed)
	if err != nil {
		t.Fatal(err)
	}
	_, err = w.Write(make([]byte, 1<<20))
	if err := errors.Join(err, w.Flush()); err != nil {
		t.Fatal(err)
	}
	z := binary.AppendUvarint(nil, claimed)
	return seal(kind, 1, append(z, bytes.Repeat(block.Bytes(), (900<<10)/block.Len())...))
}

// foreignValues are what nobody of us would write, under any key.
func foreignValues(t *testing.T) map[string][]byte {
	t.Helper()
	return map[string][]byte{
		"nothing":         {},
		"garbage":         []byte("garbage\xff\x00"),
		"wrong JSON":      []byte(`{"f":1,"inc":7,"w":{"x":[]},"t":"1","g":1,"d":1}`),
		"cut JSON":        []byte(`{"f":1,"inc":"x`),
		"no version":      []byte(`{"inc":"x","w":"worker-0","t":1}`),
		"later version":   []byte(`{"f":99,"inc":"x","w":[],"t":1,"v":1}`),
		"huge":            append(append([]byte(`{"f":1,"inc":"`), bytes.Repeat([]byte("x"), 900<<10)...), '"'),
		"deep":            bytes.Repeat([]byte(`[`), 100<<10),
		"later packed":    {'p', 'h', 99, 0, 1, 2, 3, 4},
		"truncated":       seal('h', 0, []byte{1, 2, 200})[:9],
		"short":           seal('h', 0, []byte{200}),
		"another's kind":  seal('c', 0, []byte{0, 3, 'a', 'b', 'c'}),
		"claims too much": seal('h', 0, binary.AppendUvarint([]byte{1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0}, 1<<40)),
		"deflate bomb":    bomb(t, 'h', 1<<10),
		"claimed bomb":    bomb(t, 'h', 1<<24),
		"untold bomb":     bomb(t, 'c', 1<<40),
	}
}

// kinds counts the errors that metrics are told, by kind.
type kinds struct {
	parti.NopMetrics
	mu sync.Mutex
	n  map[string]int
}

func (k *kinds) IncrementError(kind string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.n == nil {
		k.n = map[string]int{}
	}
	k.n[kind]++
}

func (k *kinds) foreign() int {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.n["foreign_value"]
}

// besieged is a fleet into whose buckets a hostile hand writes.
type besieged struct {
	ws      []*worker
	parts   []parti.Partition
	metrics kinds
	buckets map[string]jetstream.KeyValue
}

func besiege(t *testing.T, srv *partitest.Server) *besieged {
	t.Helper()
	b := &besieged{parts: fleettest.Numbered(30), buckets: map[string]jetstream.KeyValue{}}
	src := source.NewStatic(b.parts)
	for range 3 {
		b.ws = append(b.ws, newWorker(t, srv, parti.Config{WorkerIDMax: 9}, src, parti.WithMetrics(&b.metrics)))
	}
	startAll(t, b.ws...)
	time.Sleep(time.Minute)
	for _, name := range bucketNames {
		kv, err := admin(t, srv).KeyValue(t.Context(), "parti-"+name)
		if err != nil {
			t.Fatal(err)
		}
		b.buckets[name] = kv
	}
	return b
}

func (b *besieged) put(t *testing.T, bucket, key string, val []byte) {
	t.Helper()
	if _, err := b.buckets[bucket].Put(t.Context(), key, val); err != nil {
		t.Fatal(err)
	}
}

// told counts what workers were told of a key, as errors that match.
func (b *besieged) told(target error, key string) int {
	n := 0
	for _, w := range b.ws {
		for _, err := range w.errors() {
			if errors.Is(err, target) && strings.Contains(err.Error(), "key "+key) {
				n++
			}
		}
	}
	return n
}

// TestForeignValues writes what nobody of us would under every key that the workers of a
// fleet read while it is at rest. Each value is reported and counted, nobody is misled,
// no partition has two owners, and a crash afterwards is still found.
func TestForeignValues(t *testing.T) {
	for _, c := range []struct{ bucket, key string }{
		{"assignment", "worker.head"},
		{"heartbeat", "worker.hb.worker-0"},
		{"heartbeat", "worker.hb.worker-7"},
		{"election", "worker.leader"},
	} {
		t.Run(c.key, func(t *testing.T) {
			values := foreignValues(t)
			partitest.Bubble(t, func(t *testing.T, srv *partitest.Server) {
				b := besiege(t, srv)
				o := watchOwners(b.parts, b.ws...)
				for _, what := range slices.Sorted(maps.Keys(values)) {
					before := b.told(parti.ErrForeignValue, c.key)
					b.put(t, c.bucket, c.key, values[what])
					time.Sleep(12*time.Second + 300*time.Millisecond)
					if b.told(parti.ErrForeignValue, c.key) == before {
						t.Errorf("%s: nobody reported it", what)
					}
				}
				b.clear(t, c.bucket, c.key) // what is of a later version stays until somebody removes it
				o.end(t, 20*time.Millisecond)
				unmoved(t, b.ws...)
				b.counted(t)
				thenCrash(t, 30, b.ws...)
			})
		})
	}
}

// clear removes a key and waits until the fleet is at rest.
func (b *besieged) clear(t *testing.T, bucket, key string) {
	t.Helper()
	if err := b.buckets[bucket].Delete(t.Context(), key); err != nil {
		t.Error(err)
	}
	time.Sleep(time.Minute)
	synctest.Wait()
}

// counted fails unless metrics were told as often as hooks.
func (b *besieged) counted(t *testing.T) {
	t.Helper()
	if n, told := b.metrics.foreign(), b.told(parti.ErrForeignValue, ""); n != told || n == 0 {
		t.Errorf("%d counted, %d reported", n, told)
	}
}

// TestForeignOwnID: what stands under a worker's own id and cannot be read may be of a
// later version, that has taken the id. The worker gives up what it owns and takes
// another id, which is reported.
func TestForeignOwnID(t *testing.T) {
	values := foreignValues(t)
	partitest.Bubble(t, func(t *testing.T, srv *partitest.Server) {
		b := besiege(t, srv)
		for _, what := range slices.Sorted(maps.Keys(values)) {
			key := "worker.id." + strings.TrimPrefix(b.ws[0].WorkerID(), "worker-")
			before := b.told(parti.ErrForeignValue, key)
			b.put(t, "stableid", key, values[what])
			time.Sleep(12*time.Second + 300*time.Millisecond)
			if b.told(parti.ErrForeignValue, key) == before || !b.ws[0].reported(parti.ErrIDLost) {
				t.Errorf("%s: nobody reported it", what)
			}
			b.clear(t, "stableid", key)
			check(t, 30, b.ws...)
		}
		b.counted(t)
		thenCrash(t, 30, b.ws...)
	})
}

// TestForeignClaimants: who claims an id passes by ids that it cannot read. A ticket is a place
// in a queue for a while, whatever stands in it.
func TestForeignClaimants(t *testing.T) {
	values := foreignValues(t)
	for _, key := range []string{"worker.id.7", "worker.ticket.x"} {
		t.Run(key, func(t *testing.T) {
			partitest.Bubble(t, func(t *testing.T, srv *partitest.Server) {
				b := besiege(t, srv)
				for _, what := range slices.Sorted(maps.Keys(values)) {
					if what == "wrong JSON" && key == "worker.ticket.x" {
						continue // a ticket is nothing but a version
					}
					b.claimAmong(t, srv, key, what, values[what])
				}
				b.clear(t, "stableid", key)
				b.counted(t)
				thenCrash(t, 30, b.ws[:3]...)
			})
		})
	}
}

// claimAmong has a worker claim an id while a value stands under key.
func (b *besieged) claimAmong(t *testing.T, srv *partitest.Server, key, what string, val []byte) {
	t.Helper()
	b.put(t, "stableid", key, val)
	before := b.told(parti.ErrForeignValue, key)
	w := newWorker(t, srv, parti.Config{WorkerIDMax: 9}, source.NewStatic(b.parts), parti.WithMetrics(&b.metrics))
	b.ws = append(b.ws, w)
	if err := w.Start(t.Context()); err != nil {
		t.Errorf("%s: %v", what, err)
	}
	want := "worker-3"
	if key == "worker.ticket.x" { // whoever queues has the first one
		want = "worker-4"
	}
	if w.WorkerID() != want {
		t.Errorf("%s: it is %s", what, w.WorkerID())
	}
	w.stop(t)
	time.Sleep(12*time.Second + 300*time.Millisecond) // nobody waits for its id any more
	if b.told(parti.ErrForeignValue, key) == before {
		t.Errorf("%s: nobody reported it", what)
	}
}

// TestForeignStray: the leader, which lists ids now and then, reports one that nobody can
// read, and leaves it, since it may be of a later version.
func TestForeignStray(t *testing.T) {
	partitest.Bubble(t, func(t *testing.T, srv *partitest.Server) {
		b := besiege(t, srv)
		b.put(t, "stableid", "worker.id.7", []byte("garbage"))
		time.Sleep(150*time.Second + 300*time.Millisecond) // two listings, a minute apart
		if n := b.told(parti.ErrForeignValue, "worker.id.7"); n < 1 || n > 3 {
			t.Errorf("reported %d times", n)
		}
		if e, err := b.buckets["stableid"].Get(t.Context(), "worker.id.7"); err != nil || string(e.Value()) != "garbage" {
			t.Errorf("%v %v", e, err)
		}
	})
}

// TestForeignHeld: what workers say they hold, while a head is rebuilt, is believed only
// if it can be read.
func TestForeignHeld(t *testing.T) {
	values := foreignValues(t)
	partitest.Bubble(t, func(t *testing.T, srv *partitest.Server) {
		b := besiege(t, srv)
		o := watchOwners(b.parts, b.ws...)
		before := tokens(b.ws...)
		for _, what := range slices.Sorted(maps.Keys(values)) {
			told := b.told(parti.ErrForeignValue, "worker.held.worker-7")
			b.put(t, "assignment", "worker.held.worker-7", values[what])
			deleteHead(t, srv)
			time.Sleep(30*time.Second + 300*time.Millisecond)
			if b.told(parti.ErrForeignValue, "worker.held.worker-7") == told {
				t.Errorf("%s: nobody reported it", what)
			}
		}
		o.end(t, 50*time.Millisecond)
		unmoved(t, b.ws...)
		noneOlder(t, before, b.ws...)
		thenCrash(t, 30, b.ws...)
	})
}

// TestForeignPayloads overwrites every payload, which nothing of ours ever does. Nobody
// reads them before a leader dies; then they do not match the head, and what workers hold
// counts.
func TestForeignPayloads(t *testing.T) {
	for what, val := range foreignValues(t) {
		if what != "garbage" && what != "untold bomb" && what != "another's kind" { // all end at the digest
			continue
		}
		t.Run(what, func(t *testing.T) {
			partitest.Bubble(t, func(t *testing.T, srv *partitest.Server) {
				b := besiege(t, srv)
				o := watchOwners(b.parts, b.ws...)
				n := 0
				for _, key := range keysLike(t, b.buckets["assignment"], "worker.part.>") {
					b.put(t, "assignment", key, val)
					n++
				}
				if n < 3 {
					t.Fatalf("%d payloads", n)
				}
				leader, others := leaderOf(t, b.ws...)
				if err := leader.Stop(t.Context()); err != nil {
					t.Error(err)
				}
				time.Sleep(time.Minute + 300*time.Millisecond)
				o.end(t, 15*time.Second)
				fleettest.OwnedOnce(t, []*parti.Manager{others[0].Manager, others[1].Manager}, 30)
				if b.told(parti.ErrAssignmentVersionMismatch, "worker.part.") == 0 {
					t.Error("nobody reported it")
				}
			})
		})
	}
}

// TestForeignDrains: a head that names a drain list which nobody can read does not keep
// leaders from leading for ever.
func TestForeignDrains(t *testing.T) {
	partitest.Bubble(t, func(t *testing.T, srv *partitest.Server) {
		b := besiege(t, srv)
		o := watchOwners(b.parts, b.ws...)
		kv := b.buckets["assignment"]
		e, err := kv.Get(t.Context(), "worker.head")
		if err != nil {
			t.Fatal(err)
		}
		text, err := core.Readable(e.Value())
		if err != nil {
			t.Fatal(err)
		}
		var head map[string]any
		d := json.NewDecoder(bytes.NewReader(text))
		d.UseNumber()
		if err := d.Decode(&head); err != nil {
			t.Fatal(err)
		}
		seat := head["w"].([]any)[0].(map[string]any)
		list := []byte("garbage")
		sum := sha256.Sum256(list)
		seat["d"] = map[string]any{"t": head["t"], "v": head["v"], "d": hex.EncodeToString(sum[:8])}
		key := fmt.Sprintf("worker.drain.%s.%s.%s", seat["w"], head["t"], head["v"])
		b.put(t, "assignment", key, list)
		v, err := head["v"].(json.Number).Int64()
		if err != nil {
			t.Fatal(err)
		}
		head["v"] = v + 1
		forged, err := json.Marshal(head)
		if err != nil {
			t.Fatal(err)
		}
		b.put(t, "assignment", "worker.head", forged)
		leader, others := leaderOf(t, b.ws...)
		if err := leader.Stop(t.Context()); err != nil {
			t.Error(err)
		}
		time.Sleep(time.Minute + 300*time.Millisecond)
		o.end(t, 15*time.Second)
		fleettest.OwnedOnce(t, []*parti.Manager{others[0].Manager, others[1].Manager}, 30)
		if b.told(parti.ErrForeignValue, key) == 0 {
			t.Error("nobody reported it")
		}
	})
}

func keysLike(t *testing.T, kv jetstream.KeyValue, filter string) []string {
	t.Helper()
	l, err := kv.ListKeysFiltered(t.Context(), filter)
	if err != nil {
		t.Fatal(err)
	}
	var keys []string
	for key := range l.Keys() {
		keys = append(keys, key)
	}
	return keys
}

// TestForeignClaims: values that can be read and tell lies: ids that nobody is, leases
// without end, terms beyond counting.
func TestForeignClaims(t *testing.T) {
	for _, c := range []struct{ bucket, key, val string }{
		{"assignment", "worker.head", `{"f":1}`},
		{"assignment", "worker.part.worker-0.1.1", "garbage"},
		{"heartbeat", "worker.hb.worker-0", `{"f":1}`},
		{"heartbeat", "worker.hb.evil", `{"f":1,"inc":"x","ttl":8640000000}`},
		{"heartbeat", "worker.hb.worker-7", `{"f":1,"ttl":8640000000}`},
		{"stableid", "worker.id.00", `{"f":1}`},
		{"election", "worker.leader", `{"f":1,"t":4611686018427387000,"ttl":6000}`},
		{"election", "worker.leader", `{"f":1,"w":"worker-7","inc":"x","t":1,"ttl":8640000000}`},
	} {
		t.Run(c.key+" "+c.val, func(t *testing.T) {
			partitest.Bubble(t, func(t *testing.T, srv *partitest.Server) {
				b := besiege(t, srv)
				o := watchOwners(b.parts, b.ws...)
				b.put(t, c.bucket, c.key, []byte(c.val))
				time.Sleep(time.Minute)
				o.end(t, 15*time.Second)
				thenCrash(t, 30, b.ws...)
			})
		})
	}
}
