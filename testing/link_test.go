package testing_test

import (
	"errors"
	"syscall"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	partitest "github.com/arloliu/parti/testing"
)

// forEachNetwork runs f on a socket and in a bubble.
func forEachNetwork(t *testing.T, f func(t *testing.T, srv *partitest.Server)) {
	t.Helper()
	t.Run("socket", func(t *testing.T) { f(t, partitest.StartServer(t)) })
	t.Run("bubble", func(t *testing.T) { partitest.Bubble(t, f) })
}

func subscribe(t *testing.T, nc *nats.Conn, subject string) *nats.Subscription {
	t.Helper()
	sub, err := nc.SubscribeSync(subject)
	if err != nil {
		t.Fatal(err)
	}
	if err := nc.Flush(); err != nil {
		t.Fatal(err)
	}
	return sub
}

func publish(t *testing.T, nc *nats.Conn, subject, data string) {
	t.Helper()
	if err := nc.Publish(subject, []byte(data)); err != nil {
		t.Fatal(err)
	}
}

func next(t *testing.T, sub *nats.Subscription, want string) {
	t.Helper()
	m, err := sub.NextMsg(10 * time.Second)
	if err != nil {
		t.Fatalf("want %q: %v", want, err)
	}
	if string(m.Data) != want {
		t.Fatalf("want %q, got %q", want, m.Data)
	}
}

func TestLinkCut(t *testing.T) {
	forEachNetwork(t, func(t *testing.T, srv *partitest.Server) {
		link := srv.NewLink(t)
		lost, found, opt := events()
		far, near := link.Connect(t, opt), srv.Connect(t)
		sub := subscribe(t, far, "s")
		publish(t, near, "s", "before")
		next(t, sub, "before")

		link.Cut()
		<-lost
		if near.Status() != nats.CONNECTED {
			t.Errorf("another client's connection is %v", near.Status())
		}
		if _, err := nats.Connect(link.URL(), link.Options()...); err == nil {
			t.Error("dialed over a cut link")
		}
		if _, err := link.Dial("tcp", "127.0.0.1:1"); !errors.Is(err, syscall.ECONNREFUSED) {
			t.Errorf("dial over a cut link: %v", err)
		}
		link.Heal()
		<-found
		if err := far.Flush(); err != nil {
			t.Fatal(err)
		}
		publish(t, near, "s", "after")
		next(t, sub, "after")
	})
}

func TestLinkBlackhole(t *testing.T) {
	forEachNetwork(t, func(t *testing.T, srv *partitest.Server) {
		link := srv.NewLink(t)
		far, near := link.Connect(t), srv.Connect(t)
		fromNear, fromFar := subscribe(t, far, "to.far"), subscribe(t, near, "to.near")

		link.Blackhole()
		publish(t, near, "to.far", "held down")
		publish(t, far, "to.near", "held up")
		if err := far.FlushTimeout(100 * time.Millisecond); !errors.Is(err, nats.ErrTimeout) {
			t.Errorf("flush into a black hole: %v", err)
		}
		if err := near.Flush(); err != nil {
			t.Fatal(err)
		}
		for _, sub := range []*nats.Subscription{fromNear, fromFar} {
			if n, _, err := sub.Pending(); n != 0 || err != nil {
				t.Errorf("%d messages came through, %v", n, err)
			}
		}
		if !far.IsConnected() || !near.IsConnected() {
			t.Errorf("connections noticed: %v, %v", far.Status(), near.Status())
		}
		if srv.NumClients() != 2 {
			t.Errorf("the server has %d clients", srv.NumClients())
		}

		link.Heal()
		next(t, fromNear, "held down")
		next(t, fromFar, "held up")
	})
}

// A client that closes inside a black hole is not missed by the server, and what
// it sent last arrives late.
func TestLinkBlackholeHidesTheEnd(t *testing.T) {
	partitest.Bubble(t, func(t *testing.T, srv *partitest.Server) {
		link := srv.NewLink(t)
		far, near := link.Connect(t), srv.Connect(t)
		sub := subscribe(t, near, "s")
		link.Blackhole()
		publish(t, far, "s", "last words")
		time.Sleep(time.Second)
		far.Close()
		time.Sleep(time.Minute)
		if srv.NumClients() != 2 {
			t.Errorf("the server has %d clients", srv.NumClients())
		}
		link.Heal()
		next(t, sub, "last words")
		time.Sleep(time.Second)
		if srv.NumClients() != 1 {
			t.Errorf("after the end came through the server has %d clients", srv.NumClients())
		}
	})
}

func TestLinkBlackholeIsNoticedByPings(t *testing.T) {
	partitest.Bubble(t, func(t *testing.T, srv *partitest.Server) {
		link := srv.NewLink(t)
		lost, found, opt := events()
		link.Connect(t, opt, nats.PingInterval(2*time.Second), nats.MaxPingsOutstanding(2))
		start := time.Now()
		link.Blackhole()
		<-lost
		if d := time.Since(start); d < 4*time.Second || d > 8*time.Second {
			t.Errorf("noticed after %v", d)
		}
		time.Sleep(time.Hour)
		if len(found) != 0 {
			t.Error("connected through a black hole")
		}
		link.Heal()
		<-found
	})
}

func TestLinkBlackholeDialFails(t *testing.T) {
	partitest.Bubble(t, func(t *testing.T, srv *partitest.Server) {
		link := srv.NewLink(t)
		link.Blackhole()
		opts := append([]nats.Option{nats.Timeout(3 * time.Second)}, link.Options()...)
		if _, err := nats.Connect(link.URL(), opts...); err == nil {
			t.Error("connected through a black hole")
		}
	})
	srv := partitest.StartServer(t)
	link := srv.NewLink(t)
	link.Blackhole()
	start := time.Now()
	opts := append([]nats.Option{nats.Timeout(300 * time.Millisecond)}, link.Options()...)
	if _, err := nats.Connect(link.URL(), opts...); err == nil {
		t.Error("connected through a black hole")
	}
	if d := time.Since(start); d < 300*time.Millisecond {
		t.Errorf("gave up after %v", d)
	}
}

func TestLinkIntoClusterSurvivesANode(t *testing.T) {
	c := partitest.StartEmbeddedNATSCluster(t, 3)
	link := c.NewLink(t)
	lost, found, opt := events()
	nc := link.Connect(t, opt)
	link.Cut()
	<-lost
	link.Heal()
	<-found
	own := nc.ConnectedUrl()
	for i, url := range c.URLs() {
		if url == own {
			c.StopNode(i)
		}
	}
	<-lost
	<-found
	if err := nc.Flush(); err != nil {
		t.Fatal(err)
	}
}
