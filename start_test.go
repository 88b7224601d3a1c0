package parti

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/arloliu/parti/internal/core"
	"github.com/arloliu/parti/internal/natskv"
)

// silent makes a core that never comes to work.
func (tm *testManager) silent() {
	tm.core.on = func(ev core.Event) ([]core.Effect, bool) {
		_, start := ev.(core.Start)
		return nil, start
	}
}

func TestStartEndsWithItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newTestManager(t)
		m.silent()
		m.core.set(func(s *core.Snapshot) { s.State = core.WaitingAssignment })
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		err := m.Start(ctx)
		if !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), "an assignment that names this worker") {
			t.Errorf("got %v", err)
		}
		if len(seen[core.Abort](m.core)) != 1 || m.State() != StateInit || m.conn.listening() != 0 {
			t.Error("something is left")
		}
		m.core.on = nil
		m.mustStart(t)
		m.mustStop(t)
	})
}

func TestStartThatCannotBeAbortedIsForced(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newTestManager(t)
		m.core.on = func(core.Event) ([]core.Effect, bool) { return nil, true }
		ctx, cancel := context.WithCancel(t.Context())
		time.AfterFunc(time.Second, cancel)
		began := time.Now()
		if err := m.Start(ctx); !errors.Is(err, context.Canceled) || !strings.Contains(err.Error(), "a worker id") {
			t.Errorf("got %v", err)
		}
		if d := time.Since(began); d != time.Second+abortGrace {
			t.Errorf("took %v", d)
		}
	})
}

func TestStartThatFailsMayBeRepeated(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newTestManager(t)
		m.core.on = func(ev core.Event) ([]core.Effect, bool) {
			if _, ok := ev.(core.Start); ok {
				return []core.Effect{core.StartFailed{Fault: core.Fault{Kind: core.FaultIDsExhausted, Text: "worker-0 to worker-9"}}}, true
			}
			return nil, false
		}
		err := m.Start(t.Context())
		if !errors.Is(err, ErrStableIDExhausted) || !strings.Contains(err.Error(), "worker-0 to worker-9") {
			t.Errorf("got %v", err)
		}
		select {
		case <-m.Done():
			t.Error("a failed Start ended the manager")
		default:
		}
		m.core.on = nil
		m.mustStart(t)
		m.mustStop(t)
	})
}

func TestStartWaitsForTheConnection(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newTestManager(t)
		m.conn.status = nats.RECONNECTING
		began := time.Now()
		err := m.Start(t.Context())
		if !errors.Is(err, ErrNATSConnectionLost) || !errors.Is(err, context.DeadlineExceeded) || time.Since(began) != m.cfg.StartupTimeout {
			t.Errorf("got %v after %v", err, time.Since(began))
		}
		time.AfterFunc(10*time.Second, func() { m.conn.turn(nats.CONNECTED) })
		m.mustStart(t)
		if left := m.core.cfg.StartupTimeout; left != m.cfg.StartupTimeout-10*time.Second {
			t.Errorf("the core got %v", left)
		}
		m.mustStop(t)
	})
}

func TestStartOnAClosedConnection(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newTestManager(t)
		m.conn.status = nats.CLOSED
		if err := m.Start(t.Context()); !errors.Is(err, ErrNATSConnectionLost) || errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("got %v", err)
		}
	})
}

func TestStartSaysWhyBucketsCannotBeOpened(t *testing.T) {
	for _, tc := range []struct{ err, want error }{
		{natskv.ErrBucket, ErrBucketUnusable},
		{natskv.ErrNoJetStream, ErrJetStreamUnavailable},
		{natskv.ErrNoConnection, ErrNATSConnectionLost},
		{natskv.ErrRefused, ErrJetStreamUnavailable},
	} {
		synctest.Test(t, func(t *testing.T) {
			m := newTestManager(t)
			m.open = func(context.Context) (kvStore, error) { return nil, openError(tc.err) }
			if err := m.Start(t.Context()); !errors.Is(err, tc.want) || !errors.Is(err, tc.err) {
				t.Errorf("%v: got %v", tc.err, err)
			}
		})
	}
}
