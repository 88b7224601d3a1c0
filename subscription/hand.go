package subscription

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

// hand is a message that a partition works on: it is kept alive until put down.
type hand struct {
	msg   jetstream.Msg
	taken time.Time

	mu       sync.Mutex
	began    time.Time               // of the running call of the handler; zero between calls
	end      context.CancelCauseFunc // of the call's context
	reported bool                    // this call, as stuck
}

func (h *hand) begin(end context.CancelCauseFunc) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.began, h.end, h.reported = time.Now(), end, false
}

// finish ends the call and returns how long it took.
func (h *hand) finish() time.Duration {
	h.mu.Lock()
	defer h.mu.Unlock()
	d := time.Since(h.began)
	h.began = time.Time{}
	return d
}

// stuck reports whether a call has outlasted the limit and not returned.
func (h *hand) stuck() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.reported && !h.began.IsZero()
}

// overdue ends the context of a call that takes longer than the limit, once.
func (h *hand) overdue(limit time.Duration) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	if limit < 0 || h.began.IsZero() || h.reported || time.Since(h.began) < limit {
		return false
	}
	h.reported = true
	h.end(ErrHandlerStuck)
	return true
}

// hands are the messages that a partition works on.
type hands struct {
	mu  sync.Mutex
	all map[*hand]struct{}
	n   atomic.Int64
}

func (s *hands) take(msg jetstream.Msg) *hand {
	h := &hand{msg: msg, taken: time.Now()}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.all == nil {
		s.all = make(map[*hand]struct{})
	}
	s.all[h] = struct{}{}
	s.n.Store(int64(len(s.all)))
	return h
}

func (s *hands) put(h *hand) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.all, h)
	s.n.Store(int64(len(s.all)))
}

func (s *hands) list() []*hand {
	if s.n.Load() == 0 {
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	list := make([]*hand, 0, len(s.all))
	for h := range s.all {
		list = append(list, h)
	}
	return list
}

// keeper looks at all messages in hand from time to time, keeps the older ones
// alive at the server, and reports handlers that hang; beside it backlogs are asked
// for. Two goroutines for all partitions, no message while nothing is in hand for long.
type keeper struct {
	quit  chan struct{}
	done  chan struct{}
	end   context.CancelFunc
	asked chan struct{} // closed: nothing is asked any more
}

func startKeeper(cfg *DurableConfig, partitions func() []*partition) *keeper {
	ctx, end := context.WithCancel(context.Background())
	k := &keeper{quit: make(chan struct{}), done: make(chan struct{}), end: end, asked: startAsking(ctx, partitions)}
	every := cfg.AckWait / 4
	if cfg.HandlerTimeout > 0 {
		every = min(every, max(cfg.HandlerTimeout/4, 10*time.Millisecond))
	}
	go func() {
		defer close(k.done)
		tick := time.NewTicker(every)
		defer tick.Stop()
		for {
			select {
			case <-k.quit:
				return
			case <-tick.C:
			}
			for _, p := range partitions() {
				p.keep(every)
			}
		}
	}()
	return k
}

func (k *keeper) stop() {
	close(k.quit)
	k.end()
	<-k.done
	<-k.asked
}

// keep is the keeper's visit to a partition.
func (p *partition) keep(every time.Duration) {
	p.pullAgain()
	for _, h := range p.hands.list() {
		if p.isRevoked() {
			return // the server may give its messages to the next owner
		}
		if time.Since(h.taken) >= every/2 {
			if err := h.msg.InProgress(); err != nil {
				p.cfg.Logger.Debug("message not kept alive", "partition", p.id, "error", err)
			}
		}
		if h.overdue(p.cfg.HandlerTimeout) {
			p.cfg.Metrics.IncrementStuck()
			p.cfg.Logger.Warn("handler is stuck", "partition", p.id, "message", describe(h.msg), "took", p.cfg.HandlerTimeout)
			p.cfg.OnError(p.partition, fmt.Errorf("%s: %w (%v)", describe(h.msg), ErrHandlerStuck, p.cfg.HandlerTimeout))
		}
	}
}

// failed reports what went wrong and was survived.
func (p *partition) failed(err error) {
	err = withCause(p.js.Conn(), err)
	p.cfg.Logger.Warn("partition trouble", "partition", p.id, "error", err)
	p.cfg.OnError(p.partition, err)
}

// describe names a message.
func describe(msg jetstream.Msg) string {
	meta, err := msg.Metadata()
	if err != nil {
		return "message on " + msg.Subject()
	}
	return fmt.Sprintf("message %d on %s", meta.Sequence.Stream, msg.Subject())
}
