package testing_test

import (
	"errors"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	partitest "github.com/arloliu/parti/testing"
)

// Sixteen workers on a connection each, a heartbeat every 2 s, 10 minutes.
func TestBubbleHeartbeatsForMinutes(t *testing.T) {
	begin := time.Now()
	partitest.Bubble(t, func(t *testing.T, srv *partitest.Server) {
		start := time.Now()
		watch, err := bucket(t, srv.Connect(t), jetstream.FileStorage).WatchAll(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		var seen atomic.Int64
		go func() {
			for e := range watch.Updates() {
				if e != nil {
					seen.Add(1)
				}
			}
		}()
		for i := range 16 {
			kv := bucket(t, srv.Connect(t), jetstream.FileStorage)
			key := string(rune('a' + i))
			go func() {
				for range 300 {
					if _, err := kv.Put(t.Context(), key, []byte("beat")); err != nil {
						t.Error(err)
						return
					}
					time.Sleep(2 * time.Second)
				}
			}()
		}
		time.Sleep(10*time.Minute + time.Second)
		if n := seen.Load(); n != 16*300 {
			t.Errorf("saw %d heartbeats of %d", n, 16*300)
		}
		if err := watch.Stop(); err != nil {
			t.Error(err)
		}
		if d := time.Since(start); d != 10*time.Minute+time.Second {
			t.Errorf("virtual time went by %v", d)
		}
	})
	t.Logf("10 virtual minutes of 16 workers took %v", time.Since(begin))
}

func TestBubbleOutageKeepsFiles(t *testing.T) {
	partitest.Bubble(t, func(t *testing.T, srv *partitest.Server) {
		lost, found, opt := events()
		kv := bucket(t, srv.Connect(t, opt), jetstream.FileStorage)
		put(t, kv, "k")

		start := time.Now()
		srv.Shutdown()
		<-lost
		time.Sleep(30 * time.Minute)
		srv.Restart()
		<-found
		if d := time.Since(start); d < 30*time.Minute || d > 30*time.Minute+5*time.Second {
			t.Errorf("outage took %v", d)
		}
		if _, err := kv.Get(t.Context(), "k"); err != nil {
			t.Errorf("data lost: %v", err)
		}
		put(t, kv, "k2")
	})
}

func TestBubbleOutageLosesData(t *testing.T) {
	for name, test := range map[string]struct {
		storage jetstream.StorageType
		restart func(*partitest.Server)
	}{
		"memory": {jetstream.MemoryStorage, (*partitest.Server).Restart},
		"disk":   {jetstream.FileStorage, (*partitest.Server).RestartEmpty},
	} {
		t.Run(name, func(t *testing.T) {
			partitest.Bubble(t, func(t *testing.T, srv *partitest.Server) {
				_, found, opt := events()
				nc := srv.Connect(t, opt)
				put(t, bucket(t, nc, test.storage), "k")
				test.restart(srv)
				<-found
				_, err := bucket(t, nc, test.storage).Get(t.Context(), "k")
				if !errors.Is(err, jetstream.ErrKeyNotFound) {
					t.Errorf("want ErrKeyNotFound, got %v", err)
				}
			})
		})
	}
}

// nats.go pools its timers for the whole process. A timer of a bubble that is
// used outside ends the process, one from outside never fires in a bubble.
func TestBubblesDoNotShareTimers(t *testing.T) {
	flush := func(t *testing.T, nc *nats.Conn) {
		t.Helper()
		for range 50 {
			if err := nc.FlushTimeout(time.Second); err != nil {
				t.Fatal(err)
			}
		}
	}
	outside := partitest.StartEmbeddedNATS(t)
	for range 3 {
		flush(t, outside)
		partitest.Bubble(t, func(t *testing.T, srv *partitest.Server) {
			link := srv.NewLink(t)
			nc := link.Connect(t)
			flush(t, nc)
			link.Blackhole()
			start := time.Now()
			if err := nc.FlushTimeout(time.Second); !errors.Is(err, nats.ErrTimeout) {
				t.Errorf("flush into a black hole: %v", err)
			}
			if d := time.Since(start); d != time.Second {
				t.Errorf("timeout of 1s fired after %v", d)
			}
		})
	}
}

func TestBubbleWaits(t *testing.T) {
	partitest.Bubble(t, func(t *testing.T, srv *partitest.Server) {
		nc := srv.Connect(t)
		var got atomic.Bool
		if _, err := nc.Subscribe("s", func(*nats.Msg) { got.Store(true) }); err != nil {
			t.Fatal(err)
		}
		if err := nc.Publish("s", nil); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if !got.Load() {
			t.Error("synctest.Wait returned before the message came")
		}
	})
}

// Parallel tests may use bubbles: they take turns.
func TestBubblesInParallel(t *testing.T) {
	for _, name := range []string{"a", "b", "c", "d"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			partitest.Bubble(t, func(t *testing.T, srv *partitest.Server) {
				nc := srv.Connect(t)
				for range 2000 {
					if err := nc.FlushTimeout(time.Second); err != nil {
						t.Fatal(err)
					}
				}
			})
		})
	}
}
