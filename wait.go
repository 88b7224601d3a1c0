package parti

import (
	"context"
	"fmt"
	"sync"
)

// WaitState returns nil when the worker is in a state or, having been called
// before, comes into it, however short it stays. It may be called before Start.
// It returns [ErrStopped] when the manager has ended in another state,
// [ErrInHook] when it is given the context of a hook, for hooks would hold up
// what it waits for, and the error of ctx when that ends first.
func (m *Manager) WaitState(ctx context.Context, state State) error {
	if hook := hookOf(ctx, m); hook != "" {
		return fmt.Errorf("wait for state %v: %w (%s)", state, ErrInHook, hook)
	}
	reached, forget := m.waiters.add(state)
	defer forget()
	if m.State() == state {
		return nil
	}
	var err error
	select {
	case <-reached:
		return nil
	case <-m.done:
		if m.State() == state {
			return nil
		}
		err = ErrStopped
	case <-ctx.Done():
		err = ctxErr(ctx)
	}
	return fmt.Errorf("wait for state %v, in state %v: %w", state, m.State(), err)
}

// waiters are those who wait for a state.
type waiters struct {
	mu  sync.Mutex
	all map[*waiter]struct{}
}

type waiter struct {
	state   State
	reached chan struct{}
}

func (ws *waiters) add(s State) (reached <-chan struct{}, forget func()) {
	w := &waiter{state: s, reached: make(chan struct{})}
	ws.mu.Lock()
	defer ws.mu.Unlock()
	if ws.all == nil {
		ws.all = make(map[*waiter]struct{})
	}
	ws.all[w] = struct{}{}
	return w.reached, func() {
		ws.mu.Lock()
		defer ws.mu.Unlock()
		delete(ws.all, w)
	}
}

func (ws *waiters) reached(s State) {
	ws.mu.Lock()
	defer ws.mu.Unlock()
	for w := range ws.all {
		if w.state == s {
			close(w.reached)
			delete(ws.all, w)
		}
	}
}
