package bench

import (
	"sync"
	"time"
)

// A machine that stands still for this long makes workers look dead that are not,
// and times mean nothing.
const longStall = 200 * time.Millisecond

// stalls watches for how long the machine stands still: a timer that is late shows
// it.
type stalls struct {
	stop chan struct{}
	wg   sync.WaitGroup

	mu    sync.Mutex
	worst time.Duration
}

func watchStalls() *stalls {
	s := &stalls{stop: make(chan struct{})}
	s.wg.Go(func() {
		const every = 20 * time.Millisecond
		tick := time.NewTicker(every)
		defer tick.Stop()
		last := time.Now()
		for {
			select {
			case <-s.stop:
				return
			case <-tick.C:
				now := time.Now()
				s.note(now.Sub(last) - every)
				last = now
			}
		}
	})
	return s
}

func (s *stalls) note(d time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.worst = max(s.worst, d)
}

// take returns the longest since it was last asked.
func (s *stalls) take() time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	d := s.worst
	s.worst = 0
	return d
}

func (s *stalls) close() {
	close(s.stop)
	s.wg.Wait()
}
