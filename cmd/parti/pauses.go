package main

import (
	"fmt"
	"slices"
	"time"

	"github.com/arloliu/parti"
)

// pauses are how long partitions had a message waiting and counted nothing: from
// one result, or from when the next message was there if that was later, to the
// next result. Both by the clock of the server.
type pauses struct {
	last map[int]counted // by partition
	// orphans are the partitions whose owner was killed, until their next result.
	orphans map[int]bool

	moved, orphaned, others []time.Duration
}

// counted is the last result of a partition.
type counted struct {
	worker string
	token  parti.Token
	at     time.Time
}

func newPauses() *pauses { return &pauses{last: make(map[int]counted), orphans: make(map[int]bool)} }

// killed notes that a worker is killed.
func (p *pauses) killed(worker string) {
	for part, c := range p.last {
		if c.worker == worker {
			p.orphans[part] = true
		}
	}
}

// add notes the first result of a message.
func (p *pauses) add(r result) {
	was, known := p.last[r.part]
	p.last[r.part] = counted{r.worker, r.token, r.stored}
	if !known {
		return
	}
	from := was.at
	if r.sent.After(from) {
		from = r.sent
	}
	pause := max(r.stored.Sub(from), 0)
	switch {
	case was.token == r.token:
		p.others = append(p.others, pause)
	case p.orphans[r.part]:
		delete(p.orphans, r.part)
		p.orphaned = append(p.orphaned, pause)
	default:
		p.moved = append(p.moved, pause)
	}
}

// spread says what half and what 99 of 100 do not exceed.
func spread(d []time.Duration) string {
	if len(d) == 0 {
		return "-"
	}
	d = slices.Sorted(slices.Values(d))
	at := func(q int) float64 { return float64(d[(len(d)-1)*q/100].Microseconds()) / 1000 }
	return fmt.Sprintf("%.1f / %.1f ms", at(50), at(99))
}
