package soak

import "time"

// stalls measures how late a timer of the runner comes: times are worth nothing
// on a machine that has none for us.
type stalls struct {
	worst time.Duration // once ended
	quit  chan struct{}
	done  chan struct{}
}

func watchStalls() *stalls {
	const every = 5 * time.Millisecond
	s := &stalls{quit: make(chan struct{}), done: make(chan struct{})}
	go func() {
		defer close(s.done)
		tick := time.NewTicker(every)
		defer tick.Stop()
		for last := time.Now(); ; {
			select {
			case <-s.quit:
				return
			case <-tick.C:
			}
			s.worst = max(s.worst, time.Since(last)-every)
			last = time.Now()
		}
	}()
	return s
}

func (s *stalls) end() {
	close(s.quit)
	<-s.done
}
