package source_test

import (
	"context"
	"errors"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/arloliu/parti"
	"github.com/arloliu/parti/source"
	partitest "github.com/arloliu/parti/testing"
)

func numbered(n int) []parti.Partition {
	list := make([]parti.Partition, n)
	for i := range list {
		list[i] = parti.Partition{Keys: []string{"orders", strconv.Itoa(i)}}
	}
	return list
}

func same(a, b parti.Partition) bool { return a.Compare(b) == 0 }

func newBucket(t *testing.T, nc *nats.Conn) (jetstream.JetStream, jetstream.KeyValue) {
	t.Helper()
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	kv, err := js.CreateKeyValue(t.Context(), jetstream.KeyValueConfig{Bucket: "lists"})
	if err != nil {
		t.Fatal(err)
	}
	return js, kv
}

func mustPut(t *testing.T, kv jetstream.KeyValue, list []parti.Partition) {
	t.Helper()
	if _, err := source.PutNATSKV(t.Context(), kv, "orders", list); err != nil {
		t.Fatal(err)
	}
}

func TestNATSKVListsWhatWasPut(t *testing.T) {
	partitest.Bubble(t, func(t *testing.T, srv *partitest.Server) {
		_, kv := newBucket(t, srv.Connect(t))
		s := source.NewNATSKV(kv, "orders")
		for name, list := range map[string][]parti.Partition{
			"nothing": {},
			"weights": {{Keys: []string{"a"}, Weight: 7}, {Keys: []string{"b"}}, {Keys: []string{"c", "0"}, Weight: -1}},
			"text":    {{Keys: []string{"a.b*", "né>", `"quoted"`, " "}}},
			"many":    numbered(5000),
		} {
			mustPut(t, kv, list)
			got, err := s.ListPartitions(t.Context())
			if err != nil || !slices.EqualFunc(got, list, same) {
				t.Errorf("%s: listed %d, %v", name, len(got), err)
			}
		}
		mustPut(t, kv, []parti.Partition{{Keys: []string{"orders", "0"}, Weight: 150}, {Keys: []string{"orders", "1"}}})
		e, err := kv.Get(t.Context(), "orders")
		if err != nil {
			t.Fatal(err)
		}
		const documented = `{"format":1,"partitions":[{"keys":["orders","0"],"weight":150},{"keys":["orders","1"]}]}`
		if string(e.Value()) != documented {
			t.Errorf("the value is %s", e.Value())
		}
	})
}

func TestNATSKVRefusesToPut(t *testing.T) {
	partitest.Bubble(t, func(t *testing.T, srv *partitest.Server) {
		_, kv := newBucket(t, srv.Connect(t))
		mustPut(t, kv, numbered(3))
		for name, test := range map[string]struct {
			list []parti.Partition
			text string
			is   error
		}{
			"no keys":   {[]parti.Partition{{}}, "no keys", source.ErrMalformed},
			"empty key": {[]parti.Partition{{Keys: []string{"a", ""}}}, "empty key", source.ErrMalformed},
			"not UTF-8": {[]parti.Partition{{Keys: []string{"a\xff"}}}, "UTF-8", source.ErrMalformed},
			"twice":     {append(numbered(2), numbered(1)...), "partition 2, orders.0, is the same as partition 0", source.ErrMalformed},
			"too long":  {numbered(100_000), "raise the server's max_payload", nats.ErrMaxPayload},
		} {
			_, err := source.PutNATSKV(t.Context(), kv, "orders", test.list)
			if !errors.Is(err, test.is) || !strings.Contains(err.Error(), test.text) || !strings.Contains(err.Error(), "bucket lists, key orders") {
				t.Errorf("%s: %v", name, err)
			}
		}
		if got, err := source.NewNATSKV(kv, "orders").ListPartitions(t.Context()); len(got) != 3 || err != nil {
			t.Errorf("afterwards: %v, %v", got, err)
		}
	})
}

func TestNATSKVRefusesBadValues(t *testing.T) {
	partitest.Bubble(t, func(t *testing.T, srv *partitest.Server) {
		_, kv := newBucket(t, srv.Connect(t))
		s := source.NewNATSKV(kv, "orders")
		for value, text := range map[string]string{
			"":                                "unexpected end",
			"orders.0":                        "invalid character",
			`[{"keys":["a"]}]`:                "cannot unmarshal array",
			`{"partitions":[]}`:               `no "format"`,
			`{"format":0,"partitions":[]}`:    "format 0",
			`{"format":2,"slots":64}`:         "upgrade this worker",
			`{"format":"1","partitions":[]}`:  "cannot unmarshal string",
			`{"format":1}`:                    `an empty list is written as []`,
			`{"format":1,"partitions":null}`:  `an empty list is written as []`,
			`{"format":1,"partitions":[{}]}`:  "no keys",
			`{"format":1,"partitions":[]} x`:  "invalid character",
			`{"format":1,"partitions":[]}{}`:  "after top-level value",
			`{"format":1,"partition":[]}`:     "unknown field",
			"{\"format\":1,\"a\":\"\xff\"}":   "not UTF-8",
			`{"format":1,"partitions":["a"]}`: "cannot unmarshal string",
			`{"format":1,"partitions":[{"keys":["a"],"wieght":2}]}`:                       "unknown field",
			`{"format":1,"partitions":[{"keys":["a"],"weight":1.5}]}`:                     "cannot unmarshal number",
			`{"format":1,"partitions":[{"keys":["a"]},{"keys":["b"]},{"keys":["a"]}]}`:    "is the same as partition 0",
			`{"format":1,"partitions":[{"keys":["a", ""]}]}`:                              "empty key",
			`{"format":1,"partitions":[{"keys":["a"],"weight":99999999999999999999999}]}`: "cannot unmarshal number",
		} {
			if _, err := kv.Put(t.Context(), "orders", []byte(value)); err != nil {
				t.Fatal(err)
			}
			_, err := s.ListPartitions(t.Context())
			if !errors.Is(err, source.ErrMalformed) || !strings.Contains(err.Error(), text) || !strings.Contains(err.Error(), "bucket lists, key orders") {
				t.Errorf("%s: %v", value, err)
			}
		}
	})
}

func TestNATSKVWithoutAList(t *testing.T) {
	partitest.Bubble(t, func(t *testing.T, srv *partitest.Server) {
		js, kv := newBucket(t, srv.Connect(t))
		s := source.NewNATSKV(kv, "orders")
		want := func(when, text string, is error) {
			t.Helper()
			ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
			defer cancel()
			_, err := s.ListPartitions(ctx)
			if err == nil || !errors.Is(err, is) || !strings.Contains(err.Error(), text) || !strings.Contains(err.Error(), "bucket lists, key orders") {
				t.Errorf("%s: %v", when, err)
			}
		}
		want("never put", "source.PutNATSKV", jetstream.ErrKeyNotFound)
		mustPut(t, kv, numbered(3))
		if err := kv.Delete(t.Context(), "orders"); err != nil {
			t.Fatal(err)
		}
		want("deleted", "source.PutNATSKV", jetstream.ErrKeyNotFound)
		if err := js.DeleteKeyValue(t.Context(), "lists"); err != nil {
			t.Fatal(err)
		}
		want("no bucket", "the bucket is gone", nats.ErrNoResponders)
		srv.Shutdown()
		want("no server", "", context.DeadlineExceeded)
	})
}

// listener counts what a source announces, and begins the watch anew like a
// manager.
type listener struct {
	n      atomic.Int64
	heard  int64 // of n, by since
	cancel context.CancelFunc
	ended  chan error // what the watches ended with
}

func listen(t *testing.T, s parti.PartitionWatcher) *listener {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	l := &listener{cancel: cancel, ended: make(chan error, 100)}
	over := make(chan struct{})
	go func() {
		defer close(over)
		for ctx.Err() == nil {
			err := s.WatchPartitions(ctx, func() { l.n.Add(1) })
			select {
			case l.ended <- err:
			default:
			}
			select {
			case <-time.After(time.Second):
			case <-ctx.Done():
			}
		}
	}()
	t.Cleanup(func() { cancel(); <-over })
	return l
}

// since waits and returns how often the source has announced something since
// it was asked last.
func (l *listener) since(d time.Duration) int64 {
	time.Sleep(d)
	synctest.Wait()
	n := l.n.Load()
	defer func() { l.heard = n }()
	return n - l.heard
}

func TestNATSKVAnnouncesChanges(t *testing.T) {
	partitest.Bubble(t, func(t *testing.T, srv *partitest.Server) {
		_, kv := newBucket(t, srv.Connect(t))
		s := source.NewNATSKV(kv, "orders")
		l := listen(t, s)
		if n := l.since(time.Second); n != 1 {
			t.Errorf("%d announcements when the watch began, want 1", n)
		}
		mustPut(t, kv, numbered(3))
		if n := l.since(time.Millisecond); n != 1 {
			t.Errorf("%d announcements of the first list", n)
		}
		if _, err := source.PutNATSKV(t.Context(), kv, "payments", numbered(3)); err != nil {
			t.Fatal(err)
		}
		if n := l.since(time.Hour); n != 0 {
			t.Errorf("%d announcements in an hour without a change", n)
		}
		if err := kv.Delete(t.Context(), "orders"); err != nil {
			t.Fatal(err)
		}
		if n := l.since(time.Hour); n != 1 {
			t.Errorf("%d announcements of the deletion", n)
		}
		l.cancel()
		if err := <-l.ended; !errors.Is(err, context.Canceled) {
			t.Errorf("the watch ended with %v", err)
		}
		mustPut(t, kv, numbered(3))
		if n := l.since(time.Minute); n != 0 {
			t.Error("announced after its end")
		}
	})
}

// TestNATSKVWatchSurvives what a watch of nats.go does not: every change is
// announced, at the latest after the next look.
func TestNATSKVWatchSurvives(t *testing.T) {
	for name, happens := range map[string]func(*testing.T, *partitest.Server, jetstream.JetStream){
		"restart": func(_ *testing.T, srv *partitest.Server, _ jetstream.JetStream) { srv.Restart() },
		"long outage": func(_ *testing.T, srv *partitest.Server, _ jetstream.JetStream) {
			srv.Shutdown()
			time.Sleep(5 * time.Minute)
			srv.Restart()
		},
		"bucket made anew": func(t *testing.T, _ *partitest.Server, js jetstream.JetStream) {
			t.Helper()
			if err := js.DeleteKeyValue(t.Context(), "lists"); err != nil {
				t.Fatal(err)
			}
			newBucket(t, js.Conn())
		},
		"bucket gone for long": func(t *testing.T, _ *partitest.Server, js jetstream.JetStream) {
			t.Helper()
			if err := js.DeleteKeyValue(t.Context(), "lists"); err != nil {
				t.Fatal(err)
			}
			time.Sleep(5 * time.Minute)
			newBucket(t, js.Conn())
		},
		"data lost": func(t *testing.T, srv *partitest.Server, js jetstream.JetStream) {
			t.Helper()
			srv.RestartEmpty()
			time.Sleep(3 * time.Second) // reconnects
			newBucket(t, js.Conn())
		},
	} {
		t.Run(name, func(t *testing.T) {
			partitest.Bubble(t, func(t *testing.T, srv *partitest.Server) {
				nc := srv.Connect(t, parti.NATSOptions()...)
				js, kv := newBucket(t, nc)
				for range 5 { // revisions that a new bucket does not reach
					mustPut(t, kv, numbered(3))
				}
				s := source.NewNATSKV(kv, "orders")
				l := listen(t, s)
				l.since(time.Second)
				happens(t, srv, js)
				l.since(3 * time.Second)
				for i := range 3 {
					mustPut(t, kv, numbered(5+i))
					if n := l.since(15 * time.Second); n == 0 {
						t.Errorf("change %d was not announced", i)
					}
					if list, err := s.ListPartitions(t.Context()); len(list) != 5+i || err != nil {
						t.Errorf("change %d: listed %d, %v", i, len(list), err)
					}
				}
				// It is a watch again, not looks alone.
				l.since(15 * time.Second)
				mustPut(t, kv, numbered(9))
				if n := l.since(time.Millisecond); n != 1 {
					t.Errorf("%d announcements at once", n)
				}
				if n := l.since(10 * time.Minute); n != 0 {
					t.Errorf("%d announcements without a change", n)
				}
			})
		})
	}
}

// TestNATSKVTellsOnceThatItCannotLook: a bucket that is gone is no change that a
// watch shows, and whoever reads the list then finds out.
func TestNATSKVTellsOnceThatItCannotLook(t *testing.T) {
	partitest.Bubble(t, func(t *testing.T, srv *partitest.Server) {
		_, kv := newBucket(t, srv.Connect(t, parti.NATSOptions()...))
		mustPut(t, kv, numbered(3))
		l := listen(t, source.NewNATSKV(kv, "orders"))
		l.since(3 * time.Second)
		for range 2 {
			srv.Shutdown()
			if n := l.since(time.Minute); n != 1 {
				t.Errorf("%d announcements in an outage, want 1", n)
			}
			srv.Restart()
			l.since(time.Minute)
		}
	})
}

func TestNATSKVWatchThatCannotGoOn(t *testing.T) {
	partitest.Bubble(t, func(t *testing.T, srv *partitest.Server) {
		nc := srv.Connect(t)
		js, kv := newBucket(t, nc)
		s := source.NewNATSKV(kv, "orders")
		l := listen(t, s)
		l.since(time.Second)
		nc.Close()
		if err := <-l.ended; err == nil || !strings.Contains(err.Error(), "bucket lists, key orders") {
			t.Errorf("connection closed: %v", err)
		}
		other, err := jetstream.New(srv.Connect(t))
		if err != nil {
			t.Fatal(err)
		}
		if kv, err = other.KeyValue(t.Context(), "lists"); err != nil {
			t.Fatal(err)
		}
		if err := other.DeleteKeyValue(t.Context(), "lists"); err != nil {
			t.Fatal(err)
		}
		began := time.Now()
		if err := <-listen(t, source.NewNATSKV(kv, "orders")).ended; err == nil || !strings.Contains(err.Error(), "watch") {
			t.Errorf("no bucket: %v", err)
		}
		srv.Shutdown()
		if err := <-listen(t, source.NewNATSKV(kv, "orders")).ended; err == nil {
			t.Error("no server: no error")
		}
		if took := time.Since(began); took > 20*time.Second {
			t.Errorf("it took %v to say so", took)
		}
		_ = js
	})
}

// laggingKV answers reads like a replica that has not got the last write.
type laggingKV struct {
	jetstream.KeyValue
	old atomic.Pointer[jetstream.KeyValueEntry]
}

func (kv *laggingKV) Get(ctx context.Context, key string) (jetstream.KeyValueEntry, error) {
	if e := kv.old.Load(); e != nil {
		return *e, nil
	}
	return kv.KeyValue.Get(ctx, key)
}

// TestNATSKVIsNotUndercut: what was announced is what is listed.
func TestNATSKVIsNotUndercut(t *testing.T) {
	partitest.Bubble(t, func(t *testing.T, srv *partitest.Server) {
		_, kv := newBucket(t, srv.Connect(t))
		mustPut(t, kv, numbered(3))
		old, err := kv.Get(t.Context(), "orders")
		if err != nil {
			t.Fatal(err)
		}
		lagging := &laggingKV{KeyValue: kv}
		lagging.old.Store(&old)
		s := source.NewNATSKV(lagging, "orders")
		l := listen(t, s)
		l.since(time.Millisecond)
		mustPut(t, kv, numbered(5))
		l.since(time.Millisecond)
		if list, err := s.ListPartitions(t.Context()); len(list) != 5 || err != nil {
			t.Errorf("listed %d, %v; want the 5 announced", len(list), err)
		}
		l.cancel()
		l.since(time.Millisecond)
		if list, err := s.ListPartitions(t.Context()); len(list) != 3 || err != nil {
			t.Errorf("listed %d, %v; want what the bucket says, without a watch", len(list), err)
		}
	})
}
