package core

import (
	"fmt"
	"testing"
	"time"
)

// A leader of a thousand workers and a million partitions, one of which dies.
func BenchmarkLeave(b *testing.B) {
	for _, size := range []struct{ parts, workers int }{{10_000, 64}, {1_000_000, 1000}} {
		b.Run(fmt.Sprintf("%dx%d", size.parts, size.workers), func(b *testing.B) {
			list := &List{Digest: "d"}
			for i := range size.parts {
				list.IDs = append(list.IDs, fmt.Sprintf("orders.eu-1.partition-%07d", i))
				list.Weights = append(list.Weights, 100)
			}
			b.ReportAllocs()
			for b.Loop() {
				b.StopTimer()
				c := New(Config{HeartbeatTTL: 6 * time.Second, HeartbeatInterval: 2 * time.Second})
				c.conn.maxValue = largestValue
				l := c.newLeader(headRecord{formatted: ours, Term: 1, Version: 1, Lifecycle: lifecycleStable}, 1)
				l.term = 1
				c.lead = l
				names := []string{}
				for w := range size.workers {
					name := fmt.Sprintf("worker-%d", w)
					names = append(names, name)
					l.addSeat(name, "0123456789abcdef01234567.1")
					l.members[name] = &member{worker: name, inc: "0123456789abcdef01234567.1", rev: 1}
				}
				l.adoptList(list, Token{1, 1})
				for i := range l.owner {
					s := int32(i % size.workers)
					l.owner[i], l.next[i], l.token[i] = s, s, Token{1, 1}
				}
				c.startCommit()
				l.commit.busy = false
				l.head.Version++
				l.members[names[3]].dead = true
				owners := make([]int32, size.parts)
				l.planFor = append(append([]string{}, names[:3]...), names[4:]...)
				for i := range owners {
					w := i % size.workers
					switch {
					case w == 3:
						owners[i] = int32(i / size.workers % (size.workers - 1))
					case w > 3:
						owners[i] = int32(w - 1)
					default:
						owners[i] = int32(w)
					}
				}
				l.rebalance = rebalance{began: c.now}
				b.StartTimer()
				l.previous(list)
				c.planned(list, owners, make([]float64, len(l.planFor)))
			}
		})
	}
}
