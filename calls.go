package parti

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"sync"
	"time"
)

// userCall makes calls of one method of users' code, never two at a time. A
// call that ignores the end of its context is left to itself; until it returns,
// further calls fail at once.
type userCall struct {
	name  string // of the method, for errors
	users *tasks

	mu    sync.Mutex
	since time.Time // when the running call began; zero while none runs
}

// call calls f, at most until ctx ends. Panics become errors.
func call[T any](ctx context.Context, c *userCall, f func(context.Context) (T, error)) (T, error) {
	var zero T
	if since, busy := c.begin(); busy {
		return zero, fmt.Errorf("%s: the previous call has not returned after %v: it must return when its context ends",
			c.name, since.Round(time.Millisecond))
	}
	type result struct {
		v   T
		err error
	}
	results := make(chan result, 1)
	c.users.start(c.name, func() {
		var r result
		r.err = protect(c.name, func() (err error) {
			r.v, err = f(ctx)
			return err
		})
		c.end()
		results <- r
	})
	select {
	case r := <-results:
		return r.v, r.err
	case <-ctx.Done():
	}
	select { // it may have come in the same moment
	case r := <-results:
		return r.v, r.err
	default:
		return zero, fmt.Errorf("%s: no answer in time: %w", c.name, ctx.Err())
	}
}

func (c *userCall) begin() (since time.Duration, busy bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.since.IsZero() {
		return time.Since(c.since), true
	}
	c.since = time.Now()
	return 0, false
}

func (c *userCall) end() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.since = time.Time{}
}

// panicError is a panic of users' code.
type panicError struct {
	name  string
	value any
	stack []byte
}

func (e *panicError) Error() string { return fmt.Sprintf("%s: panic: %v", e.name, e.value) }

// Unwrap returns the error that was panicked with, if it was one.
func (e *panicError) Unwrap() error {
	err, _ := e.value.(error)
	return err
}

// protect calls f and turns a panic into a [panicError].
func protect(name string, f func() error) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = &panicError{name: name, value: p, stack: debug.Stack()}
		}
	}()
	return f()
}

// stackOf returns log pairs with the stack of a panic behind err, if there is
// one.
func stackOf(err error) []any {
	if p, ok := errors.AsType[*panicError](err); ok {
		return []any{"stack", string(p.stack)}
	}
	return nil
}
