package parti

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
)

// tasks knows the goroutines that run beside the loop, by the name of what they
// do, so that the end of a run can wait for them and name those it gave up on.
// A WaitGroup would do neither: goroutines are added while somebody waits.
type tasks struct {
	mu      sync.Mutex
	running map[string]int
	changed chan struct{} // closed when a task ends; nil while nobody waits
}

// start runs f on a goroutine of its own.
func (t *tasks) start(name string, f func()) {
	t.mu.Lock()
	if t.running == nil {
		t.running = make(map[string]int)
	}
	t.running[name]++
	t.mu.Unlock()
	go func() {
		defer t.end(name)
		f()
	}()
}

func (t *tasks) end(name string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.running[name]--; t.running[name] == 0 {
		delete(t.running, name)
	}
	if t.changed != nil {
		close(t.changed)
		t.changed = nil
	}
}

// wait returns nil once nothing but except runs, or, when giveUp is closed
// first, the sorted names of what still does. A nil giveUp waits for ever.
func (t *tasks) wait(giveUp <-chan struct{}, except string) []string {
	for {
		names, changed := t.names(except)
		if len(names) == 0 {
			return nil
		}
		select {
		case <-changed:
		case <-giveUp:
			return names
		}
	}
}

// names lists what runs but for except; the channel is closed at the next end.
func (t *tasks) names(except string) ([]string, <-chan struct{}) {
	t.mu.Lock()
	defer t.mu.Unlock()
	names := slices.Sorted(maps.Keys(t.running))
	names = slices.DeleteFunc(names, func(n string) bool { return n == except })
	if t.changed == nil {
		t.changed = make(chan struct{})
	}
	return names, t.changed
}

// mostListed is how many names an error lists.
const mostListed = 8

// listed joins names for an error.
func listed(names []string) string {
	if more := len(names) - mostListed; more > 0 {
		return fmt.Sprintf("%s and %d more", strings.Join(names[:mostListed], ", "), more)
	}
	return strings.Join(names, ", ")
}
