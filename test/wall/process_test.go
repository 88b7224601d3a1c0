package wall

import (
	"maps"
	"slices"
	"syscall"
	"testing"
	"time"

	partitest "github.com/arloliu/parti/testing"
)

// TestProcessesDie kills, hangs and restarts real processes.
func TestProcessesDie(t *testing.T) {
	if slow > 1 {
		t.Skip("half a minute of other processes, of which the race detector sees none")
	}
	const margin = 500 * time.Millisecond
	srv := partitest.StartServer(t)
	f := newFleet(t, srv.URL(), 5)

	// Restarted at once, by SIGKILL or SIGTERM, leader or not: it takes its dead
	// predecessor's id, and nothing moves.
	for _, s := range []syscall.Signal{syscall.SIGKILL, syscall.SIGTERM} {
		for _, leads := range []bool{false, true} {
			before := f.owners()
			old := f.pick(leads)
			old.signal(s)
			p := f.start()
			took := f.await(20*time.Second, "the restarted process owns what it had", f.owned)
			t.Logf("%v, leader %v: restarted after %v", s, leads, took)
			if p.said.Worker != old.said.Worker {
				t.Errorf("%v: the process in place of %s is %s", s, old.said.Worker, p.said.Worker)
			}
			if !maps.Equal(f.owners(), before) {
				t.Errorf("%v of one that leads (%v): partitions have moved", s, leads)
			}
			if limit := 2 * time.Second; took > limit {
				t.Errorf("%v: the restarted process owns what it had after %v, want at most %v", s, took, limit)
			}
			nobodyLost(t, f)
		}
	}

	// Not restarted: found at once. What others had stays.
	for _, leads := range []bool{false, true} {
		<-time.After(3 * time.Second) // so that everybody has said that it answers probes
		before := f.owners()
		old := f.pick(leads)
		old.signal(syscall.SIGKILL)
		took := f.await(20*time.Second, "the others own all", f.owned)
		limit := map[bool]time.Duration{false: 2800 * time.Millisecond, true: 3 * time.Second}[leads]
		t.Logf("SIGKILL, leader %v: replaced after %v", leads, took)
		if took > limit {
			t.Errorf("SIGKILL of one that leads (%v): replaced after %v, want at most %v", leads, took, limit)
		}
		for id, now := range f.owners() {
			if was := before[id]; was != now && was != old.said.Worker {
				t.Errorf("%s moved from %s to %s", id, was, now)
			}
		}
	}

	// Hung: its lease decides. Its id is taken by a newcomer meanwhile; when it
	// wakes it lets go and takes another, in the same process.
	hung := f.pick(false)
	id := hung.said.Worker
	hung.signal(syscall.SIGSTOP)
	took := f.await(20*time.Second, "the others own all", f.owned)
	t.Logf("SIGSTOP: replaced after %v", took)
	if limit := 7500*time.Millisecond + margin; took > limit {
		t.Errorf("SIGSTOP: replaced after %v, want at most %v", took, limit)
	}
	for range 3 { // as many as have died
		f.start()
	}
	f.await(40*time.Second, "the newcomers have their share", f.shared)
	f.mu.Lock()
	if !slices.ContainsFunc(f.live(), func(p *process) bool { return p.said.Worker == id }) {
		t.Errorf("nobody has taken the id of the hung one, %s", id)
	}
	hung.gone = false
	f.mu.Unlock()
	if err := hung.cmd.Process.Signal(syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
	f.await(40*time.Second, "the hung one has another id, and its share", func() bool {
		return hung.said.Worker != id && hung.said.Worker != "" && f.shared()
	})
	if !slices.ContainsFunc(hung.said.Errs, func(s string) bool { return len(s) > 0 }) {
		t.Error("the hung one has not said that it lost its id")
	}
}

// shared tells whether all is owned, and everybody that lives has some.
func (f *fleet) shared() bool {
	return f.owned() && !slices.ContainsFunc(f.live(), func(p *process) bool { return len(p.said.Owns) == 0 })
}

// nobodyLost fails if a worker has ever owned what it does not own now.
func nobodyLost(t *testing.T, f *fleet) {
	t.Helper()
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, p := range f.live() {
		if len(p.ever) != len(p.said.Owns) {
			t.Errorf("%s has owned %d partitions and owns %d", p.said.Worker, len(p.ever), len(p.said.Owns))
		}
	}
}
