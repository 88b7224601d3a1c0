package parti

import (
	"context"
	"fmt"
	"sync"

	"github.com/arloliu/parti/internal/core"
)

// RefreshPartitions asks the leader to read the list of partitions again, from
// any worker. It returns nil once an assignment has been published that was
// made from a list read after the call, and else the reason why there is none,
// such as [ErrSource]. A ctx that ends ends the wait, not the refresh.
//
// Until Start has returned it returns [ErrNotStarted], also from a hook that is
// called meanwhile, such as the one for the first assignment.
func (m *Manager) RefreshPartitions(ctx context.Context) error {
	r, err := m.running()
	if err != nil {
		return fmt.Errorf("refresh partitions: %w", err)
	}
	id, answer := r.refresh.begin()
	r.box.post(core.Refresh{ID: id})
	select {
	case err = <-answer:
	case <-r.over:
		// The answer may have come with the end.
		select {
		case err = <-answer:
		default:
			err = ErrStopped
		}
	case <-ctx.Done():
		r.refresh.end(id, nil)
		err = ctxErr(ctx)
	}
	if err != nil {
		return fmt.Errorf("refresh partitions: %w", err)
	}
	return nil
}

// refreshes are the calls of RefreshPartitions that wait for their answer.
type refreshes struct {
	mu      sync.Mutex
	last    uint64
	waiting map[uint64]chan<- error
}

func (f *refreshes) begin() (id uint64, answer <-chan error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.waiting == nil {
		f.waiting = make(map[uint64]chan<- error)
	}
	f.last++
	c := make(chan error, 1)
	f.waiting[f.last] = c
	return f.last, c
}

// end answers a call, if it still waits.
func (f *refreshes) end(id uint64, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if c := f.waiting[id]; c != nil {
		c <- err
		delete(f.waiting, id)
	}
}

func (f *refreshes) endAll(err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for id, c := range f.waiting {
		c <- err
		delete(f.waiting, id)
	}
}
