package parti

import (
	"context"
	"errors"
	"time"

	"github.com/arloliu/parti/internal/core"
)

// announceGap is the least time between two reads of the list for what a source
// announces: a source that announces every row of a bulk change is read once per
// gap. The first announcement after a quiet time is not held up.
const announceGap = time.Second

// A watch that ended is begun anew after rewatchFirst, and after twice as long
// each time, up to rewatchMost. One that lasted for rewatchMost counts as good.
const (
	rewatchFirst = time.Second
	rewatchMost  = 30 * time.Second
)

// sourceWatch listens to what a source announces while this worker leads.
type sourceWatch struct {
	watcher PartitionWatcher // nil: the source announces nothing
	call    userCall
	cancel  context.CancelFunc // while this worker leads; the loop's
}

func newSourceWatch(s PartitionSource, users *tasks) sourceWatch {
	w, _ := s.(PartitionWatcher)
	return sourceWatch{watcher: w, call: userCall{name: "WatchPartitions", users: users}}
}

// follow begins and ends listening with the leadership of this worker. It is
// called after every step and costs nothing when nothing has changed.
func (w *sourceWatch) follow(r *run, leading bool) {
	switch {
	case w.watcher == nil || leading == (w.cancel != nil):
	case leading:
		ctx, cancel := context.WithCancel(r.ctx)
		w.cancel = cancel
		changed := make(chan struct{}, 1)
		r.own.start("watching the source", func() { w.watch(ctx, r, changed) })
		r.own.start("watching the source", func() { pace(ctx, changed, func() { r.box.post(core.ListChanged{}) }) })
	default:
		w.cancel()
		w.cancel = nil
	}
}

// watch keeps a watch running until ctx ends.
func (w *sourceWatch) watch(ctx context.Context, r *run, changed chan<- struct{}) {
	announce := func() {
		select {
		case changed <- struct{}{}:
		default: // one is waiting already, and covers this one
		}
	}
	wait := rewatchFirst
	for {
		began := time.Now()
		_, err := call(ctx, &w.call, func(ctx context.Context) (struct{}, error) {
			return struct{}{}, w.watcher.WatchPartitions(ctx, announce)
		})
		if ctx.Err() != nil {
			return
		}
		if err == nil {
			err = errors.New("returned though its context had not ended")
		}
		r.report(&faultError{kind: ErrSource, text: "watch partitions: " + err.Error(), cause: err})
		if time.Since(began) >= rewatchMost {
			wait = rewatchFirst
		}
		if !rest(ctx, wait) {
			return
		}
		wait = min(2*wait, rewatchMost)
	}
}

// pace calls post for what comes in, at once if nothing came lately, and never
// more often than once per announceGap.
func pace(ctx context.Context, changed <-chan struct{}, post func()) {
	for {
		select {
		case <-changed:
			post()
		case <-ctx.Done():
			return
		}
		if !rest(ctx, announceGap) {
			return
		}
	}
}

// rest waits for d and reports whether ctx has not ended before.
func rest(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}
