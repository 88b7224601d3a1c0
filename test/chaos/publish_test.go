package chaos

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/arloliu/parti/test/internal/crew"
	"github.com/arloliu/parti/test/soak/oracle"
)

// publisher publishes numbered messages at a steady rate, partition after
// partition, and each again until it is acknowledged; the server drops doubles.
// What it could not publish for a while follows at once.
type publisher struct {
	js jetstream.JetStream

	mu      sync.Mutex
	numbers [partitions]int // of the latest message
	total   int
	pause   time.Duration // the longest without an acknowledgement
	last    time.Time
	trouble error // why a message had to be published again, last
}

// window is how many messages wait for their acknowledgement at most.
const window = 256

type sent struct {
	part, n int
	ack     jetstream.PubAckFuture
}

// run publishes rate messages a second until quit is closed, or n of them if that
// is not 0, and returns when all are acknowledged.
func (p *publisher) run(ctx context.Context, rate, n int, quit <-chan struct{}) error {
	var waiting []sent
	var again []sent
	began := time.Now()
	p.last = began
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	published := 0
	for over := false; !over || len(again)+len(waiting) > 0; {
		select {
		case <-tick.C:
		case <-quit:
			over, quit = true, nil
		case <-ctx.Done():
			return fmt.Errorf("publish: %w, %d messages not acknowledged (%w)", ctx.Err(), len(again)+len(waiting), p.trouble)
		}
		due := min(int(time.Since(began).Seconds()*float64(rate)), published+window)
		if n > 0 {
			due = min(due, n)
			over = over || published == n
		}
		for _, m := range again { // in the order of their numbers
			waiting = append(waiting, p.send(m.part, m.n))
		}
		for ; !over && published < due && len(waiting) < window; published++ {
			part := p.total % partitions
			p.total++
			p.numbers[part]++
			waiting = append(waiting, p.send(part, p.numbers[part]))
		}
		waiting, again = p.acknowledged(waiting)
	}
	return nil
}

func (p *publisher) send(part, n int) sent {
	s := sent{part: part, n: n}
	ack, err := p.js.PublishAsync(subjectOf(part), fmt.Appendf(nil, "%d %d", part, n), jetstream.WithMsgID(fmt.Sprintf("%d-%d", part, n)))
	if err == nil {
		s.ack = ack
	}
	return s
}

// acknowledged divides messages into those still unanswered and those to be sent
// again.
func (p *publisher) acknowledged(all []sent) (waiting, again []sent) {
	for _, m := range all {
		if m.ack == nil {
			again = append(again, m)
			continue
		}
		select {
		case <-m.ack.Ok():
			p.mu.Lock()
			p.pause = max(p.pause, time.Since(p.last))
			p.last = time.Now()
			p.mu.Unlock()
		case p.trouble = <-m.ack.Err():
			again = append(again, m)
		default:
			waiting = append(waiting, m)
		}
	}
	return waiting, again
}

// record notes what is published, once all of it is.
func (p *publisher) record(own *crew.Journal) {
	for part, n := range p.numbers {
		if n > 0 {
			own.Add(oracle.Record{Kind: oracle.Published, Part: part, N: n})
		}
	}
}

// waiting counts the messages that are not acknowledged by their consumers, or,
// where acknowledged messages are removed, are in the stream still.
func waiting(ctx context.Context, js jetstream.JetStream) (out [partitions]int, err error) {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	for i, s := range streams {
		stream, err := js.Stream(ctx, s.name)
		if err != nil {
			return out, fmt.Errorf("stream %s: %w", s.name, err)
		}
		list := stream.ListConsumers(ctx)
		for info := range list.Info() {
			var part int
			if _, err := fmt.Sscanf(info.Name, prefix+"-p%d", &part); err != nil || part >= partitions || part%len(streams) != i {
				return out, fmt.Errorf("consumer %q is nobody's", info.Name)
			}
			out[part] = int(info.NumPending) + info.NumAckPending
		}
		if err := list.Err(); err != nil {
			return out, fmt.Errorf("list consumers of %s: %w", s.name, err)
		}
		if s.retention == jetstream.LimitsPolicy {
			continue
		}
		info, err := stream.Info(ctx, jetstream.WithSubjectFilter(">"))
		if err != nil {
			return out, fmt.Errorf("stream %s: %w", s.name, err)
		}
		for part := i; part < partitions; part += len(streams) {
			out[part] = max(out[part], int(info.State.Subjects[subjectOf(part)]))
		}
	}
	return out, nil
}
