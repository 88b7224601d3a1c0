package core

import (
	"fmt"
	"testing"
	"time"
)

// BenchmarkTurn is what an event that means nothing costs the leader of a fleet, at
// rest and while a thousand partitions are handed over: a thousand heartbeats come
// in two seconds, and as many answers with every plan.
func BenchmarkTurn(b *testing.B) {
	for _, workers := range []int{64, 1000} {
		for _, held := range []int{0, 1000} {
			b.Run(fmt.Sprintf("%dworkers/%dheld", workers, held), func(b *testing.B) {
				c := turning(workers, held)
				b.ReportAllocs()
				for b.Loop() {
					c.settle()
					c.out = c.out[:0]
				}
			})
		}
	}
}

// turning makes a core that leads workers, of whom some have not yet let go of the
// first partitions of the list.
func turning(workers, held int) *Core {
	c := New(Config{HeartbeatTTL: 6 * time.Second, HeartbeatInterval: 2 * time.Second, HandoffTimeout: time.Minute, Prefix: "w"})
	c.now, c.life.phase, c.elect.phase = time.Second, running, leads
	c.leadKey.active, c.leadKey.written, c.leadKey.proved = true, true, c.now
	l := c.newLeader(headRecord{formatted: ours, Term: 1, Version: 1, Lifecycle: lifecycleStable}, 1)
	l.term, l.read, l.rebuild.known = 1, 1, true
	c.lead = l
	list := &List{Digest: "d"}
	for i := range 10_000 {
		list.IDs, list.Weights = append(list.IDs, fmt.Sprint("p", i)), append(list.Weights, 100)
	}
	for w := range workers {
		name, inc := fmt.Sprint("w-", w), "0123456789abcdef01234567.1"
		l.addSeat(name, inc)
		l.enroll(&member{worker: name, inc: inc, rev: 1, seen: c.now, alive: c.now, proven: true, rec: hbRecord{Inc: inc, Seq: 1}})
	}
	l.adoptList(list, Token{1, 1})
	l.head.List = list.Digest
	for i := range l.owner {
		s := int32(i % workers)
		l.owner[i], l.next[i], l.token[i] = s, s, Token{1, 1}
	}
	for i := range int32(held) {
		l.unassign(i, Token{1, 2})
	}
	return c
}
