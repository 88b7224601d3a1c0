package main

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/arloliu/parti"
	"github.com/arloliu/parti/cmd/parti/internal/fleet"
	"github.com/arloliu/parti/source"
	"github.com/arloliu/parti/strategy"
	partitest "github.com/arloliu/parti/testing"
)

// lane is a stream with two partitions, made as the demo makes it.
type lane struct {
	t     *testing.T
	srv   *partitest.Server
	bus   *bus
	parts []parti.Partition
}

// inBubble calls f with a lane in virtual time.
func inBubble(t *testing.T, f func(l *lane)) {
	t.Helper()
	partitest.Bubble(t, func(t *testing.T, srv *partitest.Server) {
		t.Helper()
		js, err := jetstream.New(srv.Connect(t))
		if err != nil {
			t.Fatal(err)
		}
		l := &lane{
			t: t, srv: srv, bus: &bus{js: js, names: newNames()},
			parts: []parti.Partition{{Keys: []string{"a"}}, {Keys: []string{"."}}},
		}
		if err := l.bus.prepare(t.Context(), len(l.parts)); err != nil {
			t.Fatal(err)
		}
		f(l)
	})
}

// A worker counts what its partitions hold and says so in the results.
func TestWorkerCounts(t *testing.T) {
	inBubble(t, func(l *lane) {
		t := l.t
		for _, p := range l.parts {
			for _, text := range []string{"one", "two words"} {
				if _, err := l.bus.js.Publish(t.Context(), l.bus.names.workSubject(p), []byte(text)); err != nil {
					t.Fatal(err)
				}
			}
		}
		var out bytes.Buffer
		w := &worker{
			spec: workerSpec{Names: l.bus.names, Parts: l.parts, Windows: windows{AckWait: time.Second}},
			js:   l.bus.js, reports: fleet.NewReporter(&out), index: map[string]int{"a": 0, "%2E": 1},
			mgr: idleManager(t, l.bus.js),
		}
		cons, err := w.consumers()
		if err != nil {
			t.Fatal(err)
		}
		if err := cons.UpdateWorkerConsumer(t.Context(), "worker-0", l.parts); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Second)
		if err := cons.Close(t.Context()); err != nil {
			t.Fatal(err)
		}
		words := newWordCounts()
		var got []string
		stop, err := l.bus.results(t.Context(), func(r result, err error) {
			if err == nil {
				err = words.addEncoded(r.counts)
			}
			if err != nil || r.sent.IsZero() || r.stored.IsZero() {
				t.Errorf("result %+v: %v", r, err)
			}
			got = append(got, l.parts[r.part].ID())
		})
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Second)
		stop()
		if words.total != 6 || len(got) != 4 || strings.Count(strings.Join(got, " "), "a") != 2 || out.Len() > 0 {
			t.Errorf("%d words of %q; reported %s", words.total, got, &out)
		}
		if idle, err := l.bus.idle(t.Context(), 4); !idle || err != nil {
			t.Errorf("idle %v, %v", idle, err)
		}
	})
}

// idleManager is a manager that is not started.
func idleManager(t *testing.T, js jetstream.JetStream) *parti.Manager {
	t.Helper()
	m, err := parti.NewManager(&parti.Config{}, js, source.NewStatic(nil), strategy.NewConsistentHash())
	if err != nil {
		t.Fatal(err)
	}
	return m
}
