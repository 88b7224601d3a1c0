package natskv_test

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/arloliu/parti/internal/kvtest"
	"github.com/arloliu/parti/internal/natskv"
)

// inBubble runs a test with a server, and a store on it, in virtual time.
func inBubble(t *testing.T, cfg natskv.Config, fn func(t *testing.T, js jetstream.JetStream, s *natskv.Store)) {
	t.Helper()
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		t.Helper()
		srv, err := server.NewServer(&server.Options{DontListen: true, NoLog: true, NoSigs: true, JetStream: true, StoreDir: dir})
		if err != nil {
			t.Fatal(err)
		}
		srv.Start()
		defer func() { srv.Shutdown(); srv.WaitForShutdown() }()
		if !srv.ReadyForConnections(time.Minute) {
			t.Fatal("the server does not start")
		}
		nc, err := nats.Connect("", nats.InProcessServer(srv))
		if err != nil {
			t.Fatal(err)
		}
		defer nc.Close()
		js, err := jetstream.New(nc)
		if err != nil {
			t.Fatal(err)
		}
		s, err := natskv.Open(t.Context(), js, cfg)
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		fn(t, js, s)
	})
}

func TestMarkersExpire(t *testing.T) {
	inBubble(t, config(), func(t *testing.T, js jetstream.JetStream, s *natskv.Store) {
		t.Helper()
		ctx := t.Context()
		create := func() (rev, sent uint64) {
			t.Helper()
			before := js.Conn().Stats().OutMsgs
			rev, err := s.Create(ctx, 0, "k", nil)
			if err != nil {
				t.Fatal(err)
			}
			return rev, js.Conn().Stats().OutMsgs - before
		}
		for _, c := range []struct {
			after time.Duration
			cost  uint64
		}{{58 * time.Second, 3}, {62 * time.Second, 1}} {
			rev, _ := create()
			if err := s.Delete(ctx, 0, "k", rev); err != nil {
				t.Fatal(err)
			}
			time.Sleep(c.after)
			rev, cost := create()
			if cost != c.cost {
				t.Errorf("create %v after the delete sent %d messages, want %d", c.after, cost, c.cost)
			}
			if err := s.Delete(ctx, 0, "k", rev); err != nil {
				t.Fatal(err)
			}
		}
	})
}

// An idle watch lives on, and one without a consumer is found within the time
// of two heartbeats.
func TestSilence(t *testing.T) {
	inBubble(t, config(), func(t *testing.T, js jetstream.JetStream, s *natskv.Store) {
		t.Helper()
		r, idle := kvtest.NewRecorder(), kvtest.NewRecorder()
		for name, fn := range map[string]func(natskv.Event){"w": r.Take, "idle": idle.Take} {
			w, err := s.Watch(t.Context(), 0, "k", name, fn)
			if err != nil {
				t.Fatal(err)
			}
			defer w.Stop()
		}
		r.Synced(t)
		idle.Synced(t)
		time.Sleep(time.Hour)
		r.Empty(t)
		if err := js.DeleteConsumer(t.Context(), "KV_ids", "w"); err != nil {
			t.Fatal(err)
		}
		deleted := time.Now()
		r.Until(t, func(e natskv.Event) bool { return e.Lost })
		if took := time.Since(deleted); took > 10*time.Second {
			t.Errorf("took %v, want at most two heartbeats", took)
		}
		time.Sleep(time.Hour)
		r.Empty(t)
		idle.Empty(t)
		if _, err := s.Create(t.Context(), 0, "k", nil); err != nil {
			t.Fatal(err)
		}
		idle.Synced(t)
	})
}
