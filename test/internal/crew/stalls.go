package crew

import "time"

// Stalls measures how late a timer of the runner comes: times are worth nothing
// on a machine that has none for us.
type Stalls struct {
	Worst time.Duration // once ended
	quit  chan struct{}
	done  chan struct{}
}

// WatchStalls begins to measure.
func WatchStalls() *Stalls {
	const every = 5 * time.Millisecond
	s := &Stalls{quit: make(chan struct{}), done: make(chan struct{})}
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
			s.Worst = max(s.Worst, time.Since(last)-every)
			last = time.Now()
		}
	}()
	return s
}

// End ends measuring.
func (s *Stalls) End() {
	close(s.quit)
	<-s.done
}
