package natskv_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/arloliu/parti/internal/kvtest"
	"github.com/arloliu/parti/internal/natskv"
)

// watch watches bucket 0.
func watch(t *testing.T, s *natskv.Store, filter, name string) *kvtest.Recorder {
	t.Helper()
	r, _ := watcher(t, s, filter, name)
	return r
}

func watcher(t *testing.T, s *natskv.Store, filter, name string) (*kvtest.Recorder, *natskv.Watch) {
	t.Helper()
	r := kvtest.NewRecorder()
	w, err := s.Watch(within(t), 0, filter, name, r.Take)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(w.Stop)
	return r, w
}

// lost waits for the Lost event, behind which nothing may come.
func lost(t *testing.T, r *kvtest.Recorder) {
	t.Helper()
	r.Until(t, func(e natskv.Event) bool { return e.Lost })
	r.Empty(t)
}

func TestWatchIsLost(t *testing.T) {
	behind := heartbeat(1)
	behind.Header.Set("Nats-Last-Stream", "3")
	for _, c := range []struct {
		name string
		say  *nats.Msg
	}{
		{"a gap", message("k", 5, 3, 0)},
		{"a repetition", message("k", 5, 1, 0)},
		{"a heartbeat beyond", heartbeat(2)},
		{"a stream that went back", behind},
		{"deletion", status("409", "Consumer Deleted")},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, s := startScript(t, nil)
			r, w := watcher(t, s, "k", "w")
			w.Receive(message("k", 4, 1, 0))
			if e := r.Next(t); e.Rev != 4 || e.Key != "k" || !e.Synced {
				t.Fatalf("got %s", kvtest.Describe(e))
			}
			w.Receive(heartbeat(1))
			w.Receive(status("100", "FlowControl Request"))
			r.Empty(t)
			w.Receive(c.say)
			w.Receive(message("k", 6, 2, 0))
			w.Receive(c.say)
			if e := r.Next(t); !e.Lost {
				t.Fatalf("got %s, want lost", kvtest.Describe(e))
			}
			r.Empty(t)
		})
	}
}

func TestWatchSyncsWhenAllHasCome(t *testing.T) {
	_, s := startScript(t, func(sc *scripted) { sc.last, sc.keys = 10, []string{"a", "b"} })
	r, w := watcher(t, s, ">", "w")
	for _, c := range []struct {
		say    *nats.Msg
		synced bool
	}{
		{message("a", 7, 1, 3), false},
		{message("b", 9, 2, 3), false}, // more was written before the listing
		{message("a", 10, 3, 3), true}, // all of it has come, whatever has been written since
		{message("a", 11, 4, 1), false},
		{heartbeat(4), true}, // the one that waited was overwritten or deleted
		{message("b", 12, 5, 0), true},
	} {
		w.Receive(c.say)
		if e := r.Next(t); e.Synced != c.synced || e.Lost {
			t.Fatalf("got %s, want synced %v", kvtest.Describe(e), c.synced)
		}
	}
	w.Receive(heartbeat(5))
	r.Empty(t) // it was said already
}

// Old servers send the same message again, or an older one.
func TestWatchSkipsRepetitions(t *testing.T) {
	_, s := startScript(t, func(sc *scripted) { sc.last, sc.keys = 10, []string{"a", "b"} })
	r, w := watcher(t, s, ">", "w")
	for i, c := range []struct {
		rev, pending int
		want         string
	}{
		{7, 3, `a@7=""`},
		{7, 2, ""},
		{8, 2, `b@8=""`},
		{7, 1, ""},
		{7, 0, `@0="" synced`},
		{8, 0, ""},
		{9, 1, `b@9=""`},
		{9, 0, `@0="" synced`},
		{10, 0, `a@10="" synced`},
	} {
		key := "a"
		if c.rev > 7 && c.rev < 10 {
			key = "b"
		}
		w.Receive(message(key, c.rev, i+1, c.pending))
		if c.want == "" {
			r.Empty(t)
		} else if got := kvtest.Describe(r.Next(t)); got != c.want {
			t.Fatalf("message %d: got %s, want %s", i+1, got, c.want)
		}
	}
}

func TestWatchDoesNotBelieveThatNothingWaits(t *testing.T) {
	_, s := startScript(t, func(sc *scripted) { sc.last, sc.keys = 10, []string{"a", "b"} })
	r, w := watcher(t, s, ">", "w")
	w.Receive(message("a", 9, 1, 0))
	w.Receive(message("a", 12, 2, 0))
	for range 2 {
		if e := r.Next(t); e.Synced {
			t.Fatalf("synced by %s, but a key has not come", kvtest.Describe(e))
		}
	}
	w.Receive(heartbeat(2)) // it is not there any more
	if e := r.Next(t); !e.Synced || e.Key != "" {
		t.Fatalf("got %s, want synced", kvtest.Describe(e))
	}
}

func TestWatchLostByRestart(t *testing.T) {
	d := startServer(t, nil)
	cfg := config()
	cfg.Heartbeat = time.Hour // it is not found by silence
	s := open(t, d.connect(t), cfg)
	rev, err := s.Create(within(t), 0, "k", []byte("1"))
	if err != nil {
		t.Fatal(err)
	}
	one, two := watch(t, s, "k", "one"), watch(t, s, ">", "two")
	one.Synced(t)
	two.Synced(t)
	d.stop()
	d.start(t)
	lost(t, one)
	lost(t, two)
	again := watch(t, s, "k", "again")
	if e := again.Next(t); e.Rev != rev || !e.Synced {
		t.Errorf("after the restart: %s", kvtest.Describe(e))
	}
}

func TestWatchLostByClose(t *testing.T) {
	js := startServer(t, nil).connect(t)
	cfg := config()
	cfg.Heartbeat = time.Hour // it is not found by silence
	s := open(t, js, cfg)
	r := watch(t, s, "k", "w")
	r.Synced(t)
	js.Conn().Close()
	lost(t, r)
	if _, err := s.Get(within(t), 0, "k"); !errors.Is(err, natskv.ErrDown) {
		t.Errorf("get on a closed connection: %v", err)
	}
}

func TestWatchConsumer(t *testing.T) {
	js := startServer(t, nil).connect(t)
	s := open(t, js, config())
	r := kvtest.NewRecorder()
	w, err := s.Watch(within(t), 0, "g.head", "incarnation-1", r.Take)
	if err != nil {
		t.Fatal(err)
	}
	info, err := js.PushConsumer(within(t), "KV_ids", "incarnation-1")
	if err != nil {
		t.Fatal(err)
	}
	c := info.CachedInfo().Config
	if c.Durable != "" || !c.MemoryStorage || c.Replicas != 1 || c.AckPolicy != jetstream.AckNonePolicy ||
		c.InactiveThreshold != 250*time.Millisecond || c.IdleHeartbeat != 5*time.Second || c.FilterSubject != "$KV.ids.g.head" {
		t.Errorf("consumer is %+v", c)
	}
	// The name is taken.
	if _, err := s.Watch(within(t), 0, "g.other", "incarnation-1", r.Take); !errors.Is(err, natskv.ErrRefused) {
		t.Errorf("second watch of the same name: %v", err)
	}
	// Stop leaves the deletion to the server, which tells everybody.
	gone, err := js.Conn().SubscribeSync("$JS.EVENT.ADVISORY.CONSUMER.DELETED.KV_ids.incarnation-1")
	if err != nil {
		t.Fatal(err)
	}
	w.Stop()
	if _, err := gone.NextMsg(20 * time.Second); err != nil {
		t.Errorf("the consumer stays: %v", err)
	}
}

func TestWatchLimit(t *testing.T) {
	js := startServer(t, nil).connect(t)
	if _, err := js.CreateStream(within(t), jetstream.StreamConfig{
		Name: "KV_ids", Subjects: []string{"$KV.ids.>"}, MaxMsgsPerSubject: 1, AllowRollup: true, MaxConsumers: 1,
	}); err != nil {
		t.Fatal(err)
	}
	s := open(t, js, config())
	watch(t, s, "k", "one").Synced(t)
	_, err := s.Watch(within(t), 0, "k", "two", func(natskv.Event) {})
	if !errors.Is(err, natskv.ErrRefused) || !strings.Contains(err.Error(), "--max-consumers 10000") {
		t.Errorf("watch beyond the limit: %v", err)
	}
}

func TestStopWaitsForTheCallback(t *testing.T) {
	s := open(t, startServer(t, nil).connect(t), config())
	inside, leave := make(chan struct{}), make(chan struct{})
	var left bool
	w, err := s.Watch(within(t), 0, "k", "w", func(e natskv.Event) {
		if e.Key == "k" {
			close(inside)
			<-leave
			left = true
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Create(within(t), 0, "k", nil); err != nil {
		t.Fatal(err)
	}
	<-inside
	stopped := make(chan bool)
	go func() { w.Stop(); stopped <- left }()
	select {
	case <-stopped:
		t.Error("Stop returned while the callback ran")
	default:
	}
	close(leave)
	if !<-stopped {
		t.Error("Stop returned before the callback")
	}
}

func TestManyWatches(t *testing.T) {
	s := open(t, startServer(t, nil).connect(t), config())
	var rs []*kvtest.Recorder
	for i := range 100 {
		rs = append(rs, watch(t, s, fmt.Sprintf("k%d", i), fmt.Sprintf("w%d", i)))
	}
	for i, r := range rs {
		r.Synced(t)
		if _, err := s.Create(within(t), 0, fmt.Sprintf("k%d", i), nil); err != nil {
			t.Fatal(err)
		}
		r.Synced(t)
	}
}
