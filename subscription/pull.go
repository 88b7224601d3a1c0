package subscription

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// pullExpiry is how long a pull request lives while nothing comes. The server
// sends a heartbeat halfway, so that an idle partition costs three small
// messages each time.
const pullExpiry = time.Minute

// pullHeartbeat is how often the server says on a cluster that it still has a pull
// request. A durable whose leader dies forgets them, and a client that is connected
// elsewhere hears nothing of it: it asks again when two heartbeats are missing.
const pullHeartbeat = 5 * time.Second

func (c *DurableConfig) pullOptions(cons jetstream.Consumer) []jetstream.PullMessagesOpt {
	opts := []jetstream.PullMessagesOpt{jetstream.PullMaxMessages(c.BatchSize), jetstream.PullExpiry(pullExpiry)}
	if cons.CachedInfo().Cluster != nil {
		opts = append(opts, jetstream.PullHeartbeat(pullHeartbeat))
	}
	return opts
}

// contestLook is how often is looked, while a partition is contested, whether a
// message went to somebody else.
const contestLook = 100 * time.Millisecond

// firstWait is how long a first delivery is awaited before the server is asked
// whether it has the request.
const firstWait = 2 * time.Second

// next returns the next delivery. While the partition is contested it notices
// also without one that something was given to somebody else.
func (p *partition) next(cons jetstream.Consumer, msgs jetstream.MessagesContext) (jetstream.Msg, error) {
	at, unacknowledged := &p.position, false
	for time.Now().Before(at.contested) {
		msg, err := msgs.Next(jetstream.NextMaxWait(contestLook))
		if !errors.Is(err, nats.ErrTimeout) {
			return msg, err
		}
		ctx, cancel := context.WithTimeout(p.work, answerTimeout)
		info, err := cons.Info(ctx)
		cancel()
		if err != nil {
			continue
		}
		// Our own acknowledgements may be on their way, but not for so long; and
		// what was given away together with a reset is not a delivery too many.
		before := unacknowledged
		unacknowledged = info.NumAckPending > 0
		if info.Delivered.Consumer < at.next && !(before && unacknowledged) {
			continue
		}
		// What was sent to us before the answer has arrived before it.
		if msg, err = msgs.Next(jetstream.NextMaxWait(time.Millisecond)); !errors.Is(err, nats.ErrTimeout) {
			return msg, err
		}
		p.cfg.Metrics.IncrementResync()
		return nil, fmt.Errorf("%w: a delivery before %d went to somebody else", ErrDeliveryGap, info.Delivered.Consumer+1)
	}
	for at.unlooked && !p.heard.Load() {
		if msg, err := p.firstLook(cons, msgs); msg != nil || err != nil {
			return msg, err
		}
	}
	return msgs.Next()
}

// firstLook waits a moment for the first delivery, and then asks the server whether
// it has the request. A durable that has just been made, or has a new leader, may
// not have been there for it, and nats.go says so only when heartbeats are missed.
func (p *partition) firstLook(cons jetstream.Consumer, msgs jetstream.MessagesContext) (jetstream.Msg, error) {
	msg, err := msgs.Next(jetstream.NextMaxWait(firstWait))
	if !errors.Is(err, nats.ErrTimeout) {
		return msg, err
	}
	ctx, cancel := context.WithTimeout(p.work, answerTimeout)
	info, err := cons.Info(ctx)
	cancel()
	if err != nil {
		return nil, nil //nolint:nilerr // it has no leader: ask again
	}
	if p.position.unlooked = false; info.NumWaiting > 0 {
		return nil, nil
	}
	// What was sent to us before the answer has arrived before it.
	if msg, err = msgs.Next(jetstream.NextMaxWait(time.Millisecond)); !errors.Is(err, nats.ErrTimeout) {
		return msg, err
	}
	return nil, fmt.Errorf("%w: the server has no request", errPullAgain)
}

// errPullAgain has a partition begin again, the first time without a word to the
// user: the server may not have its request, or may not answer it.
var errPullAgain = errors.New("pull again")

// pullAgain has a partition begin again that may have missed its pin. The server
// tells that with the first delivery; if it was lost with the connection, the
// request that follows the reconnect comes without the pin, and waits until the
// pin has expired.
func (p *partition) pullAgain() {
	if p.heard.Load() {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.msgs == nil || p.again || p.js.Conn().Stats().Reconnects == p.reconnects {
		return
	}
	if p.missed.IsZero() {
		p.missed = time.Now()
	}
	if time.Since(p.missed) >= pinWait {
		p.again = true
		p.msgs.Stop()
	}
}

// pinWait is how long after a reconnect nothing must have come. An owner that was
// replaced meanwhile is told so by then: it must not take the pin from the next.
const pinWait = 5 * time.Second

func (p *partition) isPulledAgain() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.again
}

// pulled judges an error of Next: whether to go on, and if not, why.
func (p *partition) pulled(err error) (bool, error) {
	switch {
	case err == nil:
		return true, nil
	case errors.Is(err, jetstream.ErrNoHeartbeat):
		p.backlog.failing.Store(true)
		p.failed(fmt.Errorf("partition %s: %w", p.id, err)) // it pulls again by itself
		return true, nil
	case p.isStopping():
		return false, nil
	case p.isPulledAgain():
		return false, fmt.Errorf("%w: the connection was lost before the first delivery", errPullAgain)
	default:
		return false, err
	}
}
