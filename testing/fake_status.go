package testing

import (
	"fmt"

	"github.com/arloliu/parti"
)

// Status returns what a manager in the fake's place would say. What is granted
// counts as running at once.
func (f *Fake) Status() parti.Status {
	a := f.CurrentAssignment()
	f.mu.Lock()
	defer f.mu.Unlock()
	s := parti.Status{
		State: f.state, Worker: f.id, Group: "worker", Leader: f.leader, Term: a.Term, Version: a.Version, Lifecycle: a.Lifecycle,
		Partitions: len(f.owned), Connected: f.state != parti.StateDegraded && f.id != "",
	}
	for _, h := range f.owned {
		w := h.partition.Weight
		if w <= 0 {
			w = parti.DefaultWeight
		}
		s.Weight += w
	}
	switch {
	case f.state == parti.StateInit:
		s.NotReady = "not started"
	case f.state == parti.StateShutdown:
		s.NotReady = "stopped"
	case f.id == "":
		s.NotReady = "without a worker id"
	}
	if f.err != nil {
		s.NotLive = fmt.Sprintf("ended by itself: %v", f.err)
	}
	s.Ready, s.Live = s.NotReady == "", s.NotLive == ""
	return s
}
