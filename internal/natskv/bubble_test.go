package natskv_test

import (
	"maps"
	"strings"
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

// A cluster loses what it is asked about a stream that has no leader yet.
func TestOpenAsksAgain(t *testing.T) {
	inBubble(t, config(), func(t *testing.T, js jetstream.JetStream, _ *natskv.Store) {
		t.Helper()
		nc := js.Conn()
		asked := map[string]int{}
		sub, err := nc.Subscribe("LOSSY.>", func(m *nats.Msg) {
			request := strings.TrimPrefix(m.Subject, "LOSSY.")
			if asked[request]++; asked[request] == 1 {
				return
			}
			if err := nc.PublishRequest("$JS.API."+request, m.Reply, m.Data); err != nil {
				t.Error(err)
			}
		})
		if err != nil {
			t.Fatal(err)
		}
		lossy, err := jetstream.NewWithAPIPrefix(nc, "LOSSY")
		if err != nil {
			t.Fatal(err)
		}
		cfg := config()
		cfg.Buckets[1], cfg.Buckets[2] = "absent", "too" // others exist
		begun := time.Now()
		s, err := natskv.Open(t.Context(), lossy, cfg)
		if err != nil {
			t.Fatal(err)
		}
		s.Close()
		if took := time.Since(begun); took > 3*time.Second {
			t.Errorf("opened after %v, want to ask again after a second", took)
		}
		if err := sub.Unsubscribe(); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		want := map[string]int{
			"STREAM.INFO.KV_ids": 2, "STREAM.INFO.KV_assignments": 2, "STREAM.INFO.KV_absent": 2, "STREAM.INFO.KV_too": 2,
			"STREAM.CREATE.KV_absent": 2, "STREAM.CREATE.KV_too": 2,
		}
		if !maps.Equal(asked, want) {
			t.Errorf("asked %v, want %v", asked, want)
		}
	})
}

// An idle watch lives on, and one without a consumer is found within the time
// of two heartbeats.
func TestWatchLostBySilence(t *testing.T) {
	for name, harm := range map[string]func(t *testing.T, js jetstream.JetStream) error{
		"consumer deleted": func(t *testing.T, js jetstream.JetStream) error {
			t.Helper()
			return js.DeleteConsumer(t.Context(), "KV_ids", "w")
		},
		"bucket deleted and made again": func(t *testing.T, js jetstream.JetStream) error {
			t.Helper()
			if err := js.DeleteStream(t.Context(), "KV_ids"); err != nil {
				return err
			}
			_, err := js.CreateKeyValue(t.Context(), jetstream.KeyValueConfig{Bucket: "ids"})
			return err
		},
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, config(), func(t *testing.T, js jetstream.JetStream, s *natskv.Store) {
				t.Helper()
				begun := time.Now()
				r, idle := kvtest.NewRecorder(), kvtest.NewRecorder()
				for bucket, fn := range []func(natskv.Event){r.Take, idle.Take} {
					w, err := s.Watch(t.Context(), bucket, "k", "w", fn)
					if err != nil {
						t.Fatal(err)
					}
					defer w.Stop()
				}
				r.Synced(t)
				idle.Synced(t)
				if took := time.Since(begun); took > time.Second {
					t.Errorf("synced after %v, want at once", took)
				}
				time.Sleep(time.Hour)
				r.Empty(t)
				if err := harm(t, js); err != nil {
					t.Fatal(err)
				}
				harmed := time.Now()
				lost(t, r)
				if took := time.Since(harmed); took > 10*time.Second {
					t.Errorf("took %v, want at most two heartbeats", took)
				}
				time.Sleep(time.Hour)
				r.Empty(t)
				idle.Empty(t)
				if _, err := s.Create(t.Context(), 1, "k", nil); err != nil {
					t.Fatal(err)
				}
				idle.Synced(t)
			})
		})
	}
}
