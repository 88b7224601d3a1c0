package parti_test

import (
	"context"
	"encoding/json"
	"errors"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/arloliu/parti"
	"github.com/arloliu/parti/internal/fleettest"
	"github.com/arloliu/parti/source"
	partitest "github.com/arloliu/parti/testing"
)

func wantReady(t *testing.T, w interface{ Status() parti.Status }, ready bool, why string) {
	t.Helper()
	if s := w.Status(); s.Ready != ready || !strings.Contains(s.NotReady, why) || ready && s.NotReady != "" {
		t.Errorf("ready %v (%q), want %v (%q)", s.Ready, s.NotReady, ready, why)
	}
}

func wantLive(t *testing.T, w interface{ Status() parti.Status }, live bool, why string) {
	t.Helper()
	if s := w.Status(); s.Live != live || !strings.Contains(s.NotLive, why) || live && s.NotLive != "" {
		t.Errorf("live %v (%q), want %v (%q)", s.Live, s.NotLive, live, why)
	}
}

// hesitant is an updater that takes its time.
type hesitant struct {
	slow atomic.Int64
	fail atomic.Bool
}

func (h *hesitant) UpdateWorkerConsumer(ctx context.Context, _ string, ps []parti.Partition) error {
	if h.fail.Load() && len(ps) > 0 {
		return errors.New("no stream")
	}
	t := time.NewTimer(time.Duration(h.slow.Load()))
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// TestReady: ready means that what is granted is running.
func TestReady(t *testing.T) {
	partitest.Bubble(t, func(t *testing.T, srv *partitest.Server) {
		src := source.NewStatic(fleettest.Numbered(20))
		first := newWorker(t, srv, parti.Config{}, src)
		wantReady(t, first, false, "not started")
		wantLive(t, first, true, "")
		startAll(t, first)
		wantReady(t, first, true, "")

		u := &hesitant{}
		second := newWorker(t, srv, parti.Config{}, src, parti.WithWorkerConsumerUpdater(u))
		u.slow.Store(int64(3 * time.Second))
		began := make(chan struct{})
		go func() {
			defer close(began)
			if err := second.Start(t.Context()); err != nil {
				t.Error(err)
			}
		}()
		time.Sleep(2 * time.Second)
		synctest.Wait()
		wantReady(t, second, false, "no assignment names this worker")
		<-began // with nothing, at first
		time.Sleep(time.Second)
		synctest.Wait()
		wantReady(t, second, false, "being taken over")
		wantReady(t, first, true, "") // what it gives up is none of its own any more
		time.Sleep(3 * time.Second)
		synctest.Wait()
		wantReady(t, second, true, "")
		time.Sleep(time.Minute)

		// It loses and keeps the rest: the rest runs.
		third := newWorker(t, srv, parti.Config{}, src)
		startAll(t, third)
		wantReady(t, second, true, "")
		time.Sleep(time.Minute)

		// What cannot be set up is not running, and the last error says why.
		u.fail.Store(true)
		third.stop(t)
		wantReady(t, third, false, "stopped")
		wantLive(t, third, true, "")
		time.Sleep(30 * time.Second)
		wantReady(t, second, false, "being taken over")
		wantLive(t, second, true, "")
		if s := second.Status(); !strings.Contains(s.LastError, "no stream") || time.Since(s.LastErrorAt) > time.Minute {
			t.Errorf("last error %q at %v", s.LastError, s.LastErrorAt)
		}
		u.fail.Store(false)
		time.Sleep(30 * time.Second)
		wantReady(t, second, true, "")
	})
}

// TestNotReadyWithoutID: a worker that waits for an id says so. One that did not get any
// and is started again later does not look as if it had been blocked since.
func TestNotReadyWithoutID(t *testing.T) {
	partitest.Bubble(t, func(t *testing.T, srv *partitest.Server) {
		cfg := parti.Config{WorkerIDMax: 1}
		src := source.NewStatic(fleettest.Numbered(10))
		ws := newWorkers(t, srv, 3, cfg, src)
		startAll(t, ws[:2]...)
		failed := make(chan struct{})
		go func() {
			defer close(failed)
			if err := ws[2].Start(t.Context()); !errors.Is(err, parti.ErrStableIDExhausted) {
				t.Errorf("started: %v", err)
			}
		}()
		time.Sleep(time.Second)
		wantReady(t, ws[2], false, "without a worker id")
		wantLive(t, ws[2], true, "")
		<-failed
		if ws[2].Status().Connected {
			t.Error("connected without being started")
		}
		time.Sleep(time.Minute)
		ws[0].stop(t)
		srv.Shutdown()
		time.Sleep(time.Second)
		time.AfterFunc(5*time.Second, srv.Restart)
		started := make(chan struct{})
		go func() {
			defer close(started)
			if err := ws[2].Start(t.Context()); err != nil {
				t.Error(err)
			}
		}()
		time.Sleep(time.Second)
		wantReady(t, ws[2], false, "")
		wantLive(t, ws[2], true, "")
		<-started
	})
}

// TestReadyWhileDegraded: an outage takes nobody's work away, unless the lease is
// what allows it.
func TestReadyWhileDegraded(t *testing.T) {
	for name, mode := range map[string]parti.Ownership{"available": parti.OwnershipAvailable, "exclusive": parti.OwnershipExclusive} {
		t.Run(name, func(t *testing.T) {
			partitest.Bubble(t, func(t *testing.T, srv *partitest.Server) {
				w := newWorker(t, srv, parti.Config{Ownership: mode}, source.NewStatic(fleettest.Numbered(3)))
				startAll(t, w)
				time.Sleep(time.Minute)
				srv.Shutdown()
				time.Sleep(2 * time.Minute)
				synctest.Wait()
				s := w.Status()
				if s.Connected || s.State != parti.StateDegraded || s.Alert != "Info" || s.Degraded < 119 || s.Degraded > 121 || s.CacheAge < 119 {
					t.Errorf("%+v", s)
				}
				if mode == parti.OwnershipAvailable {
					wantReady(t, w, true, "")
				} else {
					wantReady(t, w, false, "")
				}
				wantLive(t, w, true, "") // whatever NATS does
				srv.Restart()
				time.Sleep(time.Minute)
				wantReady(t, w, true, "")
				if s := w.Status(); !s.Connected || s.Alert != "" || s.Degraded != 0 || s.CacheAge > 11 {
					t.Errorf("%+v", s)
				}
			})
		})
	}
}

// TestNotLive: the cases in which only a new process helps.
func TestNotLive(t *testing.T) {
	partitest.Bubble(t, func(t *testing.T, srv *partitest.Server) {
		nc := srv.NewLink(t).Connect(t, parti.NATSOptions()...)
		m := fleettest.NewManager(t, nc, parti.Config{}, source.NewStatic(fleettest.Numbered(3)))
		if err := m.Start(t.Context()); err != nil {
			t.Fatal(err)
		}
		wantLive(t, m, true, "")
		nc.Close()
		synctest.Wait()
		wantLive(t, m, false, "closed for good")
	})
}

// blocking is a logger that blocks when told to.
type blocking struct {
	parti.Logger
	blocks atomic.Bool
	free   chan struct{}
}

func (b *blocking) Warn(msg string, pairs ...any) {
	if b.blocks.Load() {
		<-b.free
	}
}

func TestNotLiveWhenBlocked(t *testing.T) {
	partitest.Bubble(t, func(t *testing.T, srv *partitest.Server) {
		log := &blocking{Logger: partitest.NewLogger(t), free: make(chan struct{})}
		w := newWorker(t, srv, parti.Config{}, source.NewStatic(fleettest.Numbered(3)), parti.WithLogger(log))
		startAll(t, w)
		time.Sleep(time.Hour)
		wantLive(t, w, true, "")
		log.blocks.Store(true)
		w.link.Cut()
		time.Sleep(25 * time.Second)
		wantLive(t, w, true, "")
		time.Sleep(10 * time.Second)
		wantLive(t, w, false, "blocks")
		log.blocks.Store(false)
		close(log.free)
		w.link.Heal()
		time.Sleep(time.Minute)
		wantLive(t, w, true, "")
	})
}

// TestLiveWithLongIntervals: a manager that has little to do does not look blocked.
func TestLiveWithLongIntervals(t *testing.T) {
	partitest.Bubble(t, func(t *testing.T, srv *partitest.Server) {
		cfg := parti.Config{HeartbeatInterval: time.Minute, HeartbeatTTL: 3 * time.Minute, WorkerIDTTL: 10 * time.Minute}
		w := newWorker(t, srv, cfg, source.NewStatic(fleettest.Numbered(3)))
		startAll(t, w)
		for range 300 {
			time.Sleep(time.Second)
			wantLive(t, w, true, "")
		}
	})
}

// TestNotReadyWithoutLease: an exclusive worker whose manager is blocked, so that it does
// not learn that its lease has ended, is not ready from then on.
func TestNotReadyWithoutLease(t *testing.T) {
	partitest.Bubble(t, func(t *testing.T, srv *partitest.Server) {
		log := &blocking{Logger: partitest.NewLogger(t), free: make(chan struct{})}
		w := newWorker(t, srv, parti.Config{Ownership: parti.OwnershipExclusive}, source.NewStatic(fleettest.Numbered(3)), parti.WithLogger(log))
		startAll(t, w)
		time.Sleep(time.Minute)
		log.blocks.Store(true)
		w.link.Cut()
		time.Sleep(3 * time.Second)
		wantReady(t, w, true, "")
		time.Sleep(4 * time.Second)
		wantReady(t, w, false, "its lease has ended")
		log.blocks.Store(false)
		close(log.free)
		w.link.Heal()
		time.Sleep(time.Minute)
		wantReady(t, w, true, "")
	})
}

// TestStatus: what it says fits the other accessors, and JSON carries it.
func TestStatus(t *testing.T) {
	partitest.Bubble(t, func(t *testing.T, srv *partitest.Server) {
		w := newWorker(t, srv, parti.Config{Group: "orders"}, source.NewStatic(fleettest.Numbered(3)))
		startAll(t, w)
		time.Sleep(time.Minute)
		s, a := w.Status(), w.CurrentAssignment()
		want := parti.Status{
			State: parti.StateStable, Worker: "worker-0", Group: "orders", Leader: true, Term: a.Term, Version: a.Version,
			Lifecycle: a.Lifecycle, Partitions: 3, Weight: 300, Connected: true, CacheAge: s.CacheAge, Ready: true, Live: true,
		}
		if s != want {
			t.Errorf("got  %+v\nwant %+v", s, want)
		}
		b, err := json.Marshal(s)
		if err != nil {
			t.Fatal(err)
		}
		for _, part := range []string{`"state":"Stable"`, `"group":"orders"`, `"partitions":3`, `"ready":true`} {
			if !strings.Contains(string(b), part) {
				t.Errorf("%s is missing in %s", part, b)
			}
		}
		if strings.Contains(string(b), "error") {
			t.Errorf("what is not there shows: %s", b)
		}
	})
}
