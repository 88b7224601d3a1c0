package crew

import (
	"context"
	"errors"
	"strconv"
	"strings"
	"sync"
	"time"
)

// ErrPlanned is the failure that a seed gives a handler.
var ErrPlanned = errors.New("planned failure")

// Work takes its time, unless the partition is revoked.
func Work(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// Tries remembers which messages a handler has failed on purpose.
type Tries struct {
	mu     sync.Mutex
	failed map[[2]int]bool
}

// First tells whether this is the first try of a message here.
func (t *Tries) First(part, n int) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	id := [2]int{part, n}
	if t.failed[id] {
		delete(t.failed, id) // tried once more, and then done with
		return false
	}
	if t.failed == nil {
		t.failed = make(map[[2]int]bool)
	}
	t.failed[id] = true
	return true
}

// WorkerNumber is the number in a worker id, or -1.
func WorkerNumber(id string) int {
	_, n, _ := strings.Cut(id, "-")
	number, err := strconv.Atoi(n)
	if err != nil {
		return -1
	}
	return number
}
