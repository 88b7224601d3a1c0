package subscription

import (
	"sync"

	"github.com/nats-io/nats.go/jetstream"
)

// serveUnordered handles messages side by side.
func (p *partition) serveUnordered(msgs jetstream.MessagesContext) error {
	var running sync.WaitGroup
	known := newRecent(2 * (p.cfg.MaxAckPending + p.cfg.BatchSize))
	for {
		msg, err := msgs.Next()
		if again, err := p.pulled(err); !again {
			running.Wait()
			if err == nil {
				p.letGo(nil)
			}
			return err
		} else if msg == nil {
			continue
		}
		meta, err := msg.Metadata()
		if err != nil {
			drain(msgs)
			running.Wait()
			return err
		}
		p.heard.Store(true)
		p.delivered(meta)
		// What waits here for longer than AckWait comes a second time.
		fresh, done := known.add(meta.Sequence.Stream)
		if done {
			p.ack(msg)
		}
		if !fresh {
			continue
		}
		h := p.hands.take(msg)
		if p.isStopping() || !p.acquire() {
			p.hands.put(h)
			left := append([]jetstream.Msg{msg}, drain(msgs)...)
			running.Wait()
			p.letGo(left)
			return nil
		}
		running.Go(func() {
			defer p.release()
			defer p.hands.put(h)
			if p.once(h, meta) {
				known.done(meta.Sequence.Stream)
			} else {
				known.forget(meta.Sequence.Stream)
			}
		})
	}
}

// once tries a message one time; if that fails the server gives it again later.
func (p *partition) once(h *hand, meta *jetstream.MsgMetadata) bool {
	before := int(meta.NumDelivered) - 1
	if p.cfg.MaxDeliver > 0 && before >= p.cfg.MaxDeliver {
		return p.bury(h.msg, before, nil)
	}
	finished, wait, _ := p.attempt(h)
	if finished || p.isRevoked() {
		return finished
	}
	p.stats.failed()
	if wait == 0 {
		wait = p.cfg.backoff(before + 1)
	}
	if err := h.msg.NakWithDelay(wait); err != nil {
		p.failed(err) // it comes after AckWait
	}
	return false
}

// recent remembers messages in hand or completed lately.
type recent struct {
	mu    sync.Mutex
	state map[uint64]bool // completed?
	ring  []uint64
	next  int
}

func newRecent(n int) *recent { return &recent{state: make(map[uint64]bool), ring: make([]uint64, n)} }

// add reports whether a message is fresh, and if not, whether it is completed.
func (r *recent) add(seq uint64) (fresh, done bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if done, known := r.state[seq]; known {
		return false, done
	}
	r.state[seq] = false
	return true, false
}

// done makes room by forgetting what was completed longest ago.
func (r *recent) done(seq uint64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.state, r.ring[r.next])
	r.state[seq] = true
	r.ring[r.next] = seq
	r.next = (r.next + 1) % len(r.ring)
}

func (r *recent) forget(seq uint64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.state, seq)
}
