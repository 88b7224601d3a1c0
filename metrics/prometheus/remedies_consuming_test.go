package prometheus_test

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	client "github.com/prometheus/client_golang/prometheus"

	"github.com/arloliu/parti"
	"github.com/arloliu/parti/internal/fleettest"
	"github.com/arloliu/parti/metrics/prometheus"
	"github.com/arloliu/parti/source"
	"github.com/arloliu/parti/subscription"
	partitest "github.com/arloliu/parti/testing"
)

// The remedies that docs/OPERATIONS.md names have their effect: what the alert looks
// at is seen, the remedy applied, and it goes.

// consuming is a worker whose durable helper consumes the stream WORK.
type consuming struct {
	measured

	helper *subscription.DurableHelper
}

func newConsuming(t *testing.T, srv *partitest.Server, src parti.PartitionSource, user string, handle subscription.MessageHandlerFunc) *consuming {
	t.Helper()
	w := &consuming{measured: measured{reg: client.NewPedanticRegistry(), link: srv.NewLink(t)}}
	c := prometheus.MustRegister(w.reg)
	nc := w.link.Connect(t, append(parti.NATSOptions(), nats.UserInfo(user, user))...)
	var err error
	w.helper, err = subscription.NewDurableHelper(nc, subscription.DurableConfig{
		StreamName: "WORK", ConsumerPrefix: "w", SubjectTemplate: "work.{{.PartitionID}}", Metrics: c,
	}, handle)
	if err != nil {
		t.Fatal(err)
	}
	c.Consumers(w.helper)
	w.Manager = fleettest.NewManager(t, nc, parti.Config{}, src, parti.WithMetrics(c), parti.WithWorkerConsumerUpdater(w.helper))
	return w
}

// work is the stream of a test and what has become of its messages.
type work struct {
	t       *testing.T
	js      jetstream.JetStream
	handled atomic.Int64
}

// users are an administrator, a worker, and one that may be denied something.
var users = partitest.WithServerOptions(func(o *server.Options) {
	o.Users = []*server.User{{Username: "admin", Password: "admin"}, {Username: "worker", Password: "worker"}, {Username: "poor", Password: "poor"}}
	o.NoAuthUser = "admin"
})

// deny forbids the poor worker to publish to these subjects, and to no others.
func deny(subjects ...string) func(o *server.Options) {
	return func(o *server.Options) {
		o.Users[2].Permissions = &server.Permissions{Publish: &server.SubjectPermission{Deny: subjects}}
	}
}

func newWork(t *testing.T, srv *partitest.Server) *work {
	t.Helper()
	js, err := jetstream.New(srv.Connect(t))
	if err != nil {
		t.Fatal(err)
	}
	return &work{t: t, js: js}
}

func (w *work) stream(consumers int, subjects ...string) {
	w.t.Helper()
	if _, err := w.js.CreateOrUpdateStream(w.t.Context(), jetstream.StreamConfig{Name: "WORK", Subjects: subjects, MaxConsumers: consumers}); err != nil {
		w.t.Fatal(err)
	}
}

func (w *work) drop() {
	w.t.Helper()
	if err := w.js.DeleteStream(w.t.Context(), "WORK"); err != nil {
		w.t.Fatal(err)
	}
}

func (w *work) publish(n int, ps ...parti.Partition) {
	w.t.Helper()
	for range n {
		for _, p := range ps {
			if _, err := w.js.Publish(w.t.Context(), "work."+p.ID(), nil); err != nil {
				w.t.Fatal(err)
			}
		}
	}
}

func (w *work) handle(context.Context, jetstream.Msg) error {
	w.handled.Add(1)
	return nil
}

// updatesFail tells whether PartiConsumersFail would say so for this worker: by errors
// of its updater in five minutes, which pass, and by pulls that fail.
func updatesFail(t *testing.T, w *consuming) (updates, pulls bool) {
	t.Helper()
	before := value(t, &w.measured, "parti_errors_total", "consumer_update")
	time.Sleep(5 * time.Minute)
	grown := value(t, &w.measured, "parti_errors_total", "consumer_update") - before
	return grown > 2, value(t, &w.measured, "parti_consumer_failing_partitions", "") > 0
}

// TestMendedStreamIsConsumed: a stream that is missing, or too small for the list, is
// not consumed until it is mended, without a restart of its workers.
func TestMendedStreamIsConsumed(t *testing.T) {
	for name, c := range map[string]struct {
		consumers      int // that the stream allows
		breaks         func(w *work)
		updates, pulls bool
	}{
		"missing":           {100, func(w *work) { w.drop() }, false, true},
		"lacks subjects":    {100, func(*work) {}, true, false},
		"too few consumers": {3, func(*work) {}, true, false},
	} {
		t.Run(name, func(t *testing.T) {
			partitest.Bubble(t, func(t *testing.T, srv *partitest.Server) {
				ps := fleettest.Numbered(6)
				src := source.NewStatic(ps[:3])
				todo := newWork(t, srv)
				todo.stream(c.consumers, "work.topic.0", "work.topic.1", "work.topic.2")
				w := newConsuming(t, srv, src, "", todo.handle)
				fleettest.StartAll(t, w)
				if updates, pulls := updatesFail(t, w); updates || pulls || !w.Status().Ready {
					t.Errorf("before: updates fail %v, pulls fail %v", updates, pulls)
				}
				c.breaks(todo)
				if c.updates {
					src.Update(ps)
					if err := w.RefreshPartitions(t.Context()); err != nil {
						t.Error(err)
					}
				}
				if updates, pulls := updatesFail(t, w); updates != c.updates || pulls != c.pulls || w.Status().Ready == c.updates {
					t.Errorf("updates fail %v, pulls fail %v, %+v", updates, pulls, w.Status())
				}
				todo.stream(100, "work.>")
				time.Sleep(time.Minute)
				todo.publish(5, w.CurrentAssignment().Partitions...)
				updates, pulls := updatesFail(t, w)
				if n := int(todo.handled.Load()); updates || pulls || !w.Status().Ready || n != 5*len(w.CurrentAssignment().Partitions) {
					t.Errorf("mended: updates fail %v, pulls fail %v, %+v, %d handled", updates, pulls, w.Status(), n)
				}
			})
		})
	}
}

// TestRightGivenBackIsUsed: a worker that may not pull does not consume until it may.
func TestRightGivenBackIsUsed(t *testing.T) {
	partitest.Bubble(t, func(t *testing.T, srv *partitest.Server) {
		ps := fleettest.Numbered(4)
		todo := newWork(t, srv)
		todo.stream(100, "work.>")
		w := newConsuming(t, srv, source.NewStatic(ps), "poor", todo.handle)
		fleettest.StartAll(t, w)
		srv.Reload(deny("$JS.API.CONSUMER.MSG.NEXT.WORK.>"))
		todo.publish(200, ps...)
		updates, pulls := updatesFail(t, w)
		if n := todo.handled.Load(); updates || !pulls || n == 800 {
			t.Errorf("updates fail %v, pulls fail %v, %d handled", updates, pulls, n)
		}
		srv.Reload(deny())
		time.Sleep(time.Minute)
		updates, pulls = updatesFail(t, w)
		if n := todo.handled.Load(); updates || pulls || n != 800 {
			t.Errorf("with the right: updates fail %v, pulls fail %v, %d handled", updates, pulls, n)
		}
	}, users)
}

// TestStoppedWorkerLetsOthersConsume: what a worker cannot consume others have when it
// stops.
func TestStoppedWorkerLetsOthersConsume(t *testing.T) {
	partitest.Bubble(t, func(t *testing.T, srv *partitest.Server) {
		ps := fleettest.Numbered(20)
		src := source.NewStatic(ps[:10])
		todo := newWork(t, srv)
		todo.stream(100, "work.>")
		rich, poor := newConsuming(t, srv, src, "worker", todo.handle), newConsuming(t, srv, src, "poor", todo.handle)
		fleettest.StartAll(t, rich, poor)
		srv.Reload(deny("$JS.API.STREAM.INFO.WORK"))
		src.Update(ps)
		if err := rich.RefreshPartitions(t.Context()); err != nil {
			t.Error(err)
		}
		todo.publish(1, ps...)
		updates, _ := updatesFail(t, poor)
		if n := todo.handled.Load(); !updates || n == 20 {
			t.Errorf("updates fail %v, %d handled", updates, n)
		}
		// What is not permitted is not answered, for which an update may wait longer.
		if err := poor.Stop(t.Context()); err != nil && !errors.Is(err, context.DeadlineExceeded) {
			t.Error(err)
		}
		time.Sleep(time.Minute)
		updates, pulls := updatesFail(t, rich)
		if n := todo.handled.Load(); updates || pulls || n != 20 {
			t.Errorf("stopped: updates fail %v, pulls fail %v, %d handled", updates, pulls, n)
		}
	}, users)
}

// TestRestartFreesAStuckPartition: a handler that ignores its context blocks its
// partition until its worker is replaced.
func TestRestartFreesAStuckPartition(t *testing.T) {
	partitest.Bubble(t, func(t *testing.T, srv *partitest.Server) {
		ps := fleettest.Numbered(6)
		src := source.NewStatic(ps)
		todo := newWork(t, srv)
		todo.stream(100, "work.>")
		var hangs atomic.Bool
		over := make(chan struct{})
		handle := func(ctx context.Context, msg jetstream.Msg) error {
			if msg.Subject() == "work."+ps[3].ID() && hangs.CompareAndSwap(false, true) {
				<-over
				return ctx.Err()
			}
			return todo.handle(ctx, msg)
		}
		ws := []*consuming{newConsuming(t, srv, src, "", handle), newConsuming(t, srv, src, "", handle)}
		fleettest.StartAll(t, ws...)
		total := func(name string, ws ...*consuming) (sum float64) {
			for _, w := range ws {
				sum += value(t, &w.measured, name, "")
			}
			return sum
		}
		time.Sleep(time.Minute)
		todo.publish(200, ps[3])
		todo.publish(10, ps[:3]...)
		time.Sleep(12*time.Minute + 2*time.Second)
		if n := total("parti_consumer_stuck_partitions", ws...); n != 1 {
			t.Errorf("%v partitions are stuck", n)
		}
		todo.publish(200, ps[3])
		time.Sleep(time.Minute)
		if n := total("parti_consumer_pending", ws...); n < 300 || todo.handled.Load() != 30 {
			t.Errorf("%v messages wait, %d handled", n, todo.handled.Load())
		}
		ill, well := ws[0], ws[1]
		if total("parti_consumer_stuck_partitions", ill) == 0 {
			ill, well = well, ill
		}
		ill.link.Cut() // its process is killed
		replaced := newConsuming(t, srv, src, "", handle)
		fleettest.StartAll(t, replaced)
		time.Sleep(2 * time.Minute)
		if n := total("parti_consumer_stuck_partitions", well, replaced); n != 0 {
			t.Errorf("%v partitions are stuck", n)
		}
		if n := total("parti_consumer_pending", well, replaced); n != 0 || todo.handled.Load() != 430 {
			t.Errorf("%v messages wait, %d handled", n, todo.handled.Load())
		}
		close(over)
		ill.link.Heal()
		time.Sleep(time.Minute)
	})
}
