package core

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"
	"time"
)

// hostile are values that somebody might find, or put, under our keys.
var hostile = []string{
	``, `null`, `0`, `"x"`, `[]`, `{}`, `{"f":0}`, `{"f":-1}`, `{"f":99}`, `{"f":1}`, `{"f":"1"}`, "\xff\x00",
	`{"f":1,"inc":7}`, `{"f":1,"inc":"x","ttl":-1}`, `{"f":1,"inc":"x","ttl":9223372036854775807}`,
	`{"f":1,"inc":"x","n":1,"ttl":-9223372036854775808,"iv":-5,"win":-5,"allow":9223372036854775807}`,
	`{"f":1,"inc":"x","n":1,"leave":true,"rel":true,"win":9223372036854775807}`,
	`{"f":1,"inc":"x","n":1,"rev":18446744073709551615}`,
	`{"f":1,"inc":"x","n":1,"ap":{"t":18446744073709551615,"v":18446744073709551615},"rf":18446744073709551615}`,
	`{"f":1,"w":"w-8","inc":"x","t":18446744073709551615,"ttl":-1}`,
	`{"f":1,"w":"","inc":"","t":0}`,
	`{"f":1,"t":18446744073709551615,"v":18446744073709551615,"l":"w-8","lc":"","w":null}`,
	`{"f":1,"t":9,"v":9,"l":"w-8","lc":"x","win":-1,"w":[{},{"w":"w-0","i":"x"},{"w":"w-0","i":"y"}]}`,
	`{"f":1,"t":9,"v":9,"lc":"stable","w":[{"w":"w-0","i":"x","p":{"t":9,"v":9,"d":"z"},"d":{"t":9,"v":9,"d":"z"},"a":-1,"x":true}]}`,
	`{"f":1,"t":9,"v":9,"lc":"stable","w":[{"w":"*.>","i":"x","p":{"t":9,"v":9,"d":"z"}}]}`,
	`{"f":1,"inc":"x","g":[{"t":1,"v":1,"p":["p1","p1"],"w":[1]}]}`,
	`{"f":1,"inc":"x","g":[{"t":1,"v":1,"p":["p1","p1",""],"w":[1,-1,9223372036854775807]}]}`,
	`{"f":1,"inc":"x","g":[{"t":1,"v":1,"p":null,"w":null},{}]}`,
	`{"f":1,"inc":"x","n":1,"for":9,"rt":9,"t":9,"v":9,"ls":-1,"nm":true,"g":[{"t":9,"v":9,"p":["p1"],"w":[1]}],"d":[{"p":"p2","w":1}]}`,
	`{"f":1,"inc":"x","rt":18446744073709551615,"t":18446744073709551615}`,
	`{"f":1,"d":[{"p":"p1","w":1,"i":"x","n":"nobody","r":{"t":1,"v":1}},{"p":"p1","w":-1,"i":"","r":{}}]}`,
}

// FuzzDecode reads anything as any record: no panic, and what is refused can be
// matched.
func FuzzDecode(f *testing.F) {
	for _, s := range hostile {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		part, err := decode[partRecord](b)
		if err == nil {
			for _, o := range ownedBy(part) {
				if o.Weight <= 0 || o.ID == "" {
					t.Errorf("a payload with partition %q of weight %d was taken", o.ID, o.Weight)
				}
			}
		}
		check[partRecord](t, b)
		check[headRecord](t, b)
		check[idRecord](t, b)
		check[hbRecord](t, b)
		check[leaderRecord](t, b)
		check[drainRecord](t, b)
		check[ticketRecord](t, b)
		check[heldRecord](t, b)
	})
}

func check[T interface{ formatVersion() int }](t *testing.T, b []byte) {
	t.Helper()
	rec, err := decode[T](b)
	switch {
	case err == nil && (rec.formatVersion() < 1 || rec.formatVersion() > format):
		t.Errorf("format %d was taken: %q", rec.formatVersion(), b)
	case err != nil && !strings.HasPrefix(err.Error(), ErrForeign.Error()):
		t.Errorf("error %v does not say that the value is foreign", err)
	}
	if again, err2 := decode[T](encode(rec)); err == nil && err2 != nil {
		t.Errorf("what was read cannot be written and read again: %v: %+v", err2, again)
	}
}

// FuzzStep lets a hostile hand write under every key of a running fleet. Nobody
// panics, and nobody works on a partition that no valid payload granted it.
func FuzzStep(f *testing.F) {
	for i, s := range hostile {
		f.Add(uint8(i), []byte(s), uint8(i*7))
		f.Add(uint8(i+5), []byte(s), uint8(i))
	}
	f.Fuzz(func(t *testing.T, which uint8, val []byte, rest uint8) {
		s := &script{world: newWorld(), cfg: testConfig()}
		s.cfg.Exclusive = rest&1 != 0
		run := func(cmds ...string) {
			for _, c := range cmds {
				if err := s.do(strings.Fields(c)); err != nil {
					t.Fatal(err)
				}
			}
		}
		run("start a,b", "run 3s", "start c", "run 1s")
		target := hostileKeys[int(which)%len(hostileKeys)]
		b := int(target.bucket)
		if e, err := s.kv.Get(b, target.key); err == nil {
			_, err = s.kv.Update(b, target.key, val, e.Rev)
			if err != nil {
				t.Fatal(err)
			}
		} else if _, err := s.kv.Create(b, target.key, val); err != nil {
			t.Skip(err)
		}
		s.wakeWatches()
		run("run 8s")
		switch rest >> 1 & 3 {
		case 0:
			run("kill a")
		case 1:
			run("stop a")
		case 2:
			run("pause a", "run 7s", "resume a")
		case 3:
			run("kill a,b,c", "start d")
		}
		run("run 20s")
		for _, n := range s.nodes {
			owned := slices.Sorted(func(yield func(string) bool) {
				for id := range n.running {
					if !yield(id) {
						return
					}
				}
			})
			for _, id := range owned {
				if !slices.Contains(s.list.IDs, id) && !granted(val, id) {
					t.Errorf("%s works on %q, which is not in the list", n.name, id)
				}
			}
			if n.core.now > s.now+time.Second {
				t.Errorf("the clock of %s is ahead", n.name)
			}
		}
	})
}

// granted tells whether a value is a payload that a valid head may name.
func granted(val []byte, id string) bool {
	rec, err := decode[partRecord](val)
	return err == nil && slices.ContainsFunc(ownedBy(rec), func(o Owned) bool { return o.ID == id })
}

var hostileKeys = []struct {
	bucket Bucket
	key    string
}{
	{IDs, "g.id.0"},
	{IDs, "g.id.1"},
	{IDs, "g.id.9"},
	{IDs, "g.id.x"},
	{IDs, "g.id.99999999999999999999"},
	{IDs, "g.ticket.q"},
	{Heartbeats, "g.hb.w-0"},
	{Heartbeats, "g.hb.w-1"},
	{Heartbeats, "g.hb.w-8"},
	{Heartbeats, "g.hb.other"},
	{Election, "g.leader"},
	{Assignments, "g.head"},
	{Assignments, "g.held.w-0"},
	{Assignments, "g.part.w-0.4.1"},
	{Assignments, "g.part.w-1.4.1"},
	{Assignments, "g.part.w-1.4.2"},
	{Assignments, "g.drain.w-0.4.2"},
	{Assignments, "g.part"},
	{Assignments, "g.other.a.b.c"},
}

// FuzzEvents hands a core answers and watch events that fit nothing.
func FuzzEvents(f *testing.F) {
	f.Add([]byte{0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20})
	f.Add([]byte{255, 3, 7, 31, 127, 63, 1, 200, 9})
	f.Fuzz(func(t *testing.T, script []byte) {
		cfg := testConfig()
		cfg.Agent, cfg.Exclusive = len(script)%2 == 0, len(script)%3 == 0
		c := New(cfg)
		now := time.Duration(0)
		c.Step(now, Start{Nonce: "n", Seed: 1})
		for i, b := range script {
			if i > 200 {
				return
			}
			now += time.Duration(b) * 37 * time.Millisecond
			val := []byte(hostile[int(b)%len(hostile)])
			kinds := []Event{
				Tick{},
				Stop{},
				Abort{},
				Connected{Server: "s", Allowance: -time.Second},
				Disconnected{},
				Done{Op: c.lastOp, Val: val, Rev: uint64(b)},
				Done{Op: c.lastOp, Err: ErrKind(b % 7), Val: val},
				Done{Op: c.lastOp - 1, Rev: 1, Val: val},
				Done{Op: c.lastOp, Yes: true, Dead: []string{"x", "0", "-1"}},
				Done{Op: c.lastOp, List: testList("p1")},
				Done{Op: c.lastOp, Owners: []int32{0}},
				Watched{Watch: c.watch[int(b)%int(numWatches)].id, Key: hostileKeys[int(b)%len(hostileKeys)].key, Val: val, Rev: uint64(b), Synced: b%2 == 0},
				Watched{Watch: c.watch[int(b)%int(numWatches)].id, Synced: true},
				Watched{Watch: c.watch[int(b)%int(numWatches)].id, Key: hostileKeys[int(b)%len(hostileKeys)].key, Deleted: true, Rev: uint64(b)},
				WatchLost{Watch: c.watch[int(b)%int(numWatches)].id},
				Applied{Seq: c.adopt.applySeq},
				Refresh{ID: uint64(b)},
				ListChanged{},
			}
			ev := kinds[(int(b)*7+i)%len(kinds)]
			if b%17 == 1 || b%17 == 2 { // rather few ends
				ev = Tick{}
			}
			for _, e := range c.Step(now, ev) {
				if op, ok := e.(KV); ok && op.Val != nil && op.Val[0] != packed && !json.Valid(op.Val) {
					t.Fatalf("%s %s: %q", verbNames[op.Verb], op.Key, op.Val)
				}
			}
			if at, ok := c.Wake(); ok && at < now {
				t.Fatalf("to be woken at %v, and it is %v", at, now)
			}
		}
	})
}
