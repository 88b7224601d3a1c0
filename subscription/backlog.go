package subscription

import (
	"cmp"
	"context"
	"slices"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

// backlog is what waits at the server for a durable. Every delivery tells it; where
// none comes, because a handler hangs or a pull fails, it is asked for.
type backlog struct {
	pending atomic.Uint64
	upTo    atomic.Uint64 // consumer sequence of the delivery that it was true after
	known   atomic.Int64  // when it was told, Unix nanoseconds
	failing atomic.Bool   // a pull has failed, and nothing has come since
	asked   int64         // when it was asked for; used by who asks only
}

// set begins with what the durable says.
func (b *backlog) set(pending, delivered uint64) {
	b.pending.Store(pending)
	b.upTo.Store(delivered)
	b.known.Store(time.Now().UnixNano())
}

// delivered takes notice of a delivery. One that was fetched before the server was
// asked is old.
func (b *backlog) delivered(meta *jetstream.MsgMetadata, now int64) {
	b.failing.Store(false)
	if meta.Sequence.Consumer > b.upTo.Load() {
		b.pending.Store(meta.NumPending)
		b.known.Store(now)
	}
}

// doubtful reports whether there may be more than is known.
func (p *partition) doubtful() bool {
	return p.hands.n.Load() > 0 || p.backlog.pending.Load() > 0 || p.backlog.failing.Load()
}

const (
	// backlogAge is how old what is known of a backlog may become while it is in
	// doubt. A partition that rests costs nothing.
	backlogAge = 10 * time.Second
	// backlogAsks is how many are asked for every backlogAge/2, the oldest first, so
	// that a thousand partitions that hang at once cost ten requests per second.
	backlogAsks = 50
)

// startAsking asks for backlogs until ctx ends; done is closed then.
func startAsking(ctx context.Context, partitions func() []*partition) (done chan struct{}) {
	done = make(chan struct{})
	go func() {
		defer close(done)
		tick := time.NewTicker(backlogAge / 2)
		defer tick.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
				askBacklogs(ctx, partitions())
			}
		}
	}()
	return done
}

func askBacklogs(ctx context.Context, all []*partition) {
	now := time.Now()
	old := now.Add(-backlogAge).UnixNano()
	age := func(p *partition) int64 { return max(p.backlog.known.Load(), p.backlog.asked) }
	all = slices.DeleteFunc(all, func(p *partition) bool { return age(p) > old || p.isStopping() || !p.doubtful() })
	slices.SortFunc(all, func(a, b *partition) int { return cmp.Compare(age(a), age(b)) })
	for _, p := range all[:min(len(all), backlogAsks)] {
		if ctx.Err() != nil || !p.js.Conn().IsConnected() {
			return
		}
		if p.backlog.asked == now.UnixNano() {
			continue // partitions of a worker's durable have one backlog
		}
		p.backlog.asked = now.UnixNano()
		p.askBacklog(ctx)
	}
}

// askBacklog asks the server. Without an answer it is asked again in time.
func (p *partition) askBacklog(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	cons, err := p.js.Consumer(ctx, p.cfg.StreamName, p.durable)
	if err != nil {
		return
	}
	info := cons.CachedInfo()
	p.backlog.set(info.NumPending, info.Delivered.Consumer)
	if info.NumPending == 0 && info.NumWaiting > 0 { // nothing has come because there is nothing
		p.backlog.failing.Store(false)
	}
}
