package natskv_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/arloliu/parti/internal/kvtest"
	"github.com/arloliu/parti/internal/natskv"
)

// try starts a create of which the impostor gets the message.
func try(t *testing.T, sc *scripted, s *natskv.Store) (*nats.Msg, <-chan error) {
	t.Helper()
	result := make(chan error, 1)
	ctx := within(t)
	go func() {
		_, err := s.Update(ctx, 0, "k", []byte("x"), 1)
		result <- err
	}()
	return <-sc.writes, result
}

func TestAnswers(t *testing.T) {
	sc, s := startScript(t, nil)
	for _, c := range []struct {
		answer string
		want   error
	}{
		{`{"stream":"KV_ids","seq":7}`, nil},
		{`{"error":{"code":400,"err_code":10071,"description":"wrong last sequence: 7"}}`, natskv.ErrConflict},
		{`{"error":{"code":400,"err_code":10164,"description":"wrong last sequence"}}`, natskv.ErrConflict},
		{`{"error":{"code":503,"err_code":10077,"description":"maximum messages exceeded"}}`, natskv.ErrRefused},
		{`{"stream":"OTHER","seq":7}`, natskv.ErrRefused},
		{`garbage`, natskv.ErrAmbiguous},
	} {
		m, result := try(t, sc, s)
		if err := m.Respond([]byte(c.answer)); err != nil {
			t.Fatal(err)
		}
		if err := <-result; !errors.Is(err, c.want) {
			t.Errorf("answer %s: got %v, want %v", c.answer, err, c.want)
		}
	}
}

func TestNoAnswer(t *testing.T) {
	sc, s := startScript(t, nil)
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	_, err := s.Create(ctx, 0, "k", nil)
	if !errors.Is(err, natskv.ErrAmbiguous) || !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v, want ambiguous at the deadline", err)
	}
	<-sc.writes
	cfg := config()
	cfg.Timeout = 20 * time.Millisecond
	short := open(t, sc.d.connect(t), cfg)
	if _, err := short.Create(t.Context(), 0, "k", nil); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v, want the configured timeout", err)
	}
}

// What waits for an answer when the connection breaks ends then, not at its
// deadline.
func TestBrokenConnectionIsAmbiguous(t *testing.T) {
	sc, s := startScript(t, nil)
	_, result := try(t, sc, s)
	sc.d.stop()
	if err := <-result; !errors.Is(err, natskv.ErrAmbiguous) || errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v, want ambiguous at once", err)
	}
}

func TestClose(t *testing.T) {
	sc, s := startScript(t, nil)
	r, w := watcher(t, s, "k", "w")
	w.Receive(message("k", 1, 1, 0))
	r.Synced(t)
	_, result := try(t, sc, s)
	s.Close()
	s.Close()
	if err := <-result; !errors.Is(err, natskv.ErrAmbiguous) || errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v, want ambiguous at once", err)
	}
	r.Empty(t) // not even a Lost event
	_, err := s.Get(within(t), 0, "k")
	_, watchErr := s.Watch(within(t), 0, "k", "w2", r.Take)
	for _, err := range []error{err, watchErr, s.Rebind(within(t))} {
		if !errors.Is(err, natskv.ErrClosed) {
			t.Errorf("after close: %v", err)
		}
	}
}

func TestDownSendsNothing(t *testing.T) {
	d := startServer(t, nil)
	js := d.connect(t, nats.ReconnectBufSize(8<<20))
	s := open(t, js, config())
	rev, err := s.Create(within(t), 0, "k", []byte("1"))
	if err != nil {
		t.Fatal(err)
	}
	status := js.Conn().StatusChanged(nats.RECONNECTING, nats.CONNECTED)
	defer js.Conn().RemoveStatusListener(status)
	d.stop()
	<-status
	sent := js.Conn().Stats().OutMsgs
	_, createErr := s.Create(within(t), 0, "new", nil)
	_, updateErr := s.Update(within(t), 0, "k", []byte("2"), rev)
	_, getErr := s.Get(within(t), 0, "k")
	_, watchErr := s.Watch(within(t), 0, "k", "w", func(natskv.Event) {})
	for _, err := range []error{createErr, updateErr, getErr, watchErr, s.Delete(within(t), 0, "k", rev)} {
		if !errors.Is(err, natskv.ErrDown) {
			t.Errorf("got %v, want down", err)
		}
	}
	if err := s.Rebind(within(t)); !errors.Is(err, natskv.ErrNoConnection) {
		t.Errorf("rebind: %v", err)
	}
	if now := js.Conn().Stats().OutMsgs; now != sent {
		t.Errorf("%d messages went into the buffer", now-sent)
	}
	d.start(t)
	<-status
	if e, err := s.Get(within(t), 0, "k"); err != nil || string(e.Val) != "1" {
		t.Errorf("after the reconnect: %q, %v", e.Val, err)
	}
}

func TestTooLarge(t *testing.T) {
	s := open(t, startServer(t, nil).connect(t), config())
	if _, err := s.Create(within(t), 0, "k", make([]byte, 2<<20)); !errors.Is(err, natskv.ErrRefused) || !errors.Is(err, nats.ErrMaxPayload) {
		t.Errorf("got %v", err)
	}
}

// TestKeyValue shares a bucket with the KV client of NATS.
func TestKeyValue(t *testing.T) {
	js := startServer(t, nil).connect(t)
	s := open(t, js, config())
	ctx := within(t)
	kv, err := js.KeyValue(ctx, "ids")
	if err != nil {
		t.Fatal(err)
	}
	theirs, err := kv.WatchAll(ctx)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = theirs.Stop() }()
	next := func(op jetstream.KeyValueOp, rev uint64) {
		t.Helper()
		e := <-theirs.Updates()
		for e == nil {
			e = <-theirs.Updates()
		}
		if e.Operation() != op || e.Revision() != rev {
			t.Errorf("they see %v at %d, want %v at %d", e.Operation(), e.Revision(), op, rev)
		}
	}
	r := watch(t, s, ">", "w")

	rev, err := s.Create(ctx, 0, "g.k", []byte("ours"))
	if err != nil {
		t.Fatal(err)
	}
	next(jetstream.KeyValuePut, rev)
	if e, err := kv.Get(ctx, "g.k"); err != nil || string(e.Value()) != "ours" {
		t.Errorf("they read %v, %v", e, err)
	}
	if err := s.Delete(ctx, 0, "g.k", rev); err != nil {
		t.Fatal(err)
	}
	next(jetstream.KeyValuePurge, rev+1)
	if _, err := kv.Get(ctx, "g.k"); !errors.Is(err, jetstream.ErrKeyNotFound) {
		t.Errorf("they read a deleted key: %v", err)
	}

	if rev, err = kv.Create(ctx, "g.k", []byte("theirs")); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Create(ctx, 0, "g.k", nil); !errors.Is(err, natskv.ErrConflict) {
		t.Errorf("create of their key: %v", err)
	}
	if e, err := s.Get(ctx, 0, "g.k"); err != nil || string(e.Val) != "theirs" || e.Rev != rev {
		t.Errorf("we read %v, %v", e, err)
	}
	if err := kv.Delete(ctx, "g.k"); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Get(ctx, 0, "g.k"); !errors.Is(err, natskv.ErrNotFound) {
		t.Errorf("we read a key that they deleted: %v", err)
	}
	if _, err := s.Create(ctx, 0, "g.k", []byte("again")); err != nil {
		t.Errorf("create over their marker: %v", err)
	}
	last := r.Until(t, func(e natskv.Event) bool { return string(e.Val) == "again" })
	if before := last[len(last)-2]; !before.Deleted {
		t.Errorf("we see their deletion as %s", kvtest.Describe(before))
	}
}

func TestDomain(t *testing.T) {
	d := startServer(t, func(o *server.Options) { o.JetStreamDomain = "hub" })
	for name, connect := range map[string]func(*nats.Conn) (jetstream.JetStream, error){
		"domain": func(nc *nats.Conn) (jetstream.JetStream, error) { return jetstream.NewWithDomain(nc, "hub") },
		"prefix": func(nc *nats.Conn) (jetstream.JetStream, error) {
			return jetstream.NewWithAPIPrefix(nc, "$JS.hub.API")
		},
	} {
		t.Run(name, func(t *testing.T) {
			js, err := connect(d.connect(t).Conn())
			if err != nil {
				t.Fatal(err)
			}
			s := open(t, js, config())
			r := watch(t, s, name+".>", name)
			r.Synced(t)
			rev, err := s.Create(within(t), 0, name+".k", []byte("x"))
			if err != nil {
				t.Fatal(err)
			}
			if e := r.Next(t); e.Key != name+".k" || e.Rev != rev || !e.Synced {
				t.Errorf("got %s", kvtest.Describe(e))
			}
			kv, err := js.KeyValue(within(t), "ids")
			if err != nil {
				t.Fatal(err)
			}
			if e, err := kv.Get(within(t), name+".k"); err != nil || e.Revision() != rev {
				t.Errorf("the KV client reads %v, %v", e, err)
			}
		})
	}
}

// Across accounts, writes go through the prefix of the API as well.
func TestPrefixOfWrites(t *testing.T) {
	sc, _ := startScript(t, nil)
	js, err := jetstream.NewWithAPIPrefix(sc.d.connect(t).Conn(), "other")
	if err != nil {
		t.Fatal(err)
	}
	m, result := try(t, sc, open(t, js, config()))
	if m.Subject != "other.$KV.ids.k" {
		t.Errorf("written to %s", m.Subject)
	}
	if err := m.Respond([]byte(`{"stream":"KV_ids","seq":7}`)); err != nil {
		t.Fatal(err)
	}
	if err := <-result; err != nil {
		t.Error(err)
	}
}

// A bucket made without TTLs of messages refuses them.
func TestDeleteWithoutTTL(t *testing.T) {
	js := startServer(t, nil).connect(t)
	if _, err := js.CreateKeyValue(within(t), jetstream.KeyValueConfig{Bucket: "ids"}); err != nil {
		t.Fatal(err)
	}
	s := open(t, js, config())
	rev, err := s.Create(within(t), 0, "k", nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Delete(within(t), 0, "k", rev); err != nil {
		t.Error(err)
	}
}
