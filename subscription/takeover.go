package subscription

import (
	"context"
	"fmt"
	"maps"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

// headKey is where the durable's metadata says how many owners died at its first
// unacknowledged message: "<ack floor>:<deaths>". The server's own counts of
// deliveries are of no use: they also count what was fetched and never begun, and
// a reset clears them.
const headKey = "parti-head"

// takeOver makes the durable give its unacknowledged messages, in order, to the
// next pull.
func (p *partition) takeOver() (jetstream.Consumer, error) {
	ctx, cancel := context.WithTimeout(p.work, answerTimeout)
	defer cancel()
	cons := p.consumer
	p.consumer = nil
	if cons == nil {
		var err error
		if cons, err = p.ensureDurable(ctx); err != nil {
			return nil, err
		}
	}
	info := cons.CachedInfo()
	at := &p.position
	if !info.Created.Equal(at.created) { // another durable: its sequences mean nothing to us
		*at = position{created: info.Created, taken: at.taken}
		p.acks.forget()
	}
	if !p.acks.empty() { // what is reset must not have been acknowledged
		if err := p.confirm(ctx); err != nil {
			return nil, err
		}
		var err error
		if info, err = cons.Info(ctx); err != nil {
			return nil, err
		}
	}
	at.next = info.Delivered.Consumer + 1
	at.done = max(at.done, info.AckFloor.Stream)
	at.contested, at.left = time.Time{}, 0
	if info.NumWaiting > 0 { // the server has asked itself who is gone
		at.contested = time.Now().Add(pullExpiry + pullExpiry/10)
	}
	p.backlog.set(info.NumPending, info.Delivered.Consumer)
	if err := p.unpin(ctx, info); err != nil {
		return nil, err
	}
	if p.cfg.Unordered || info.NumAckPending == 0 {
		// Out of order, going back to the ack floor would double what was
		// acknowledged above it.
		at.taken = true
		return cons, nil
	}
	if !at.taken {
		at.taken = true
		p.cfg.Metrics.IncrementTakeover()
		p.countDeath(ctx, info)
	}
	if !p.can.reset {
		// The server gives them back after AckWait, or at once if they were
		// refused, in no good order.
		p.cfg.Logger.Info("waiting for unacknowledged messages", "partition", p.id, "messages", info.NumAckPending)
		at.left, at.leftUpTo = info.NumAckPending, info.Delivered.Stream
		return cons, nil
	}
	reset, err := p.js.ResetConsumer(ctx, p.cfg.StreamName, p.durable)
	if err != nil {
		return nil, fmt.Errorf("reset durable %s: %w", p.durable, err)
	}
	at.next = reset.Delivered.Consumer + 1
	p.backlog.set(reset.NumPending, reset.Delivered.Consumer)
	return cons, nil
}

// unpin has the server give the next messages to us. Requests that the last owner
// left behind are refused from then on, if any came with its pin.
func (p *partition) unpin(ctx context.Context, info *jetstream.ConsumerInfo) error {
	for _, g := range info.PriorityGroups {
		if g.PinnedClientID == "" {
			continue
		}
		if err := p.stream.UnpinConsumer(ctx, p.durable, g.Group); err != nil {
			return fmt.Errorf("unpin durable %s: %w", p.durable, err)
		}
	}
	return nil
}

// countDeath notes at the durable that an owner let go of its first message
// without an answer. Nothing depends on it but the limit of deliveries, so that
// an error is only logged.
func (p *partition) countDeath(ctx context.Context, info *jetstream.ConsumerInfo) {
	if p.cfg.MaxDeliver <= 0 {
		return
	}
	at := &p.position
	at.deaths, at.suspect = 1, true
	at.deaths += deathsAt(info.Config.Metadata[headKey], info.AckFloor.Stream)
	cfg := info.Config
	cfg.Metadata = maps.Clone(cfg.Metadata)
	if cfg.Metadata == nil {
		cfg.Metadata = map[string]string{}
	}
	cfg.Metadata[headKey] = head{info.AckFloor.Stream, at.deaths}.String()
	if _, err := p.js.UpdateConsumer(ctx, p.cfg.StreamName, cfg); err != nil {
		p.cfg.Logger.Warn("death of an owner not counted", "partition", p.id, "error", err)
	}
}

// head is a place in the stream and how many owners died there.
type head struct {
	at     uint64
	deaths int
}

func (h head) String() string { return fmt.Sprintf("%d:%d", h.at, h.deaths) }

// deathsAt returns the deaths that a text counts at a place.
func deathsAt(text string, at uint64) int {
	place, deaths, ok := strings.Cut(text, ":")
	if n, err := strconv.Atoi(deaths); ok && err == nil && place == strconv.FormatUint(at, 10) {
		return n
	}
	return 0
}
