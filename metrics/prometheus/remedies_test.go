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
	"github.com/arloliu/parti/strategy"
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

// sumOf adds up a figure over workers.
func sumOf(t *testing.T, name string, ws ...*measured) (sum float64) {
	t.Helper()
	for _, w := range ws {
		sum += value(t, w, name, "")
	}
	return sum
}

// TestRestartOfWhoDoesNotLetGo: in exclusive ownership partitions rest for as long as
// their old owner does not let go, of which its death is a way.
func TestRestartOfWhoDoesNotLetGo(t *testing.T) {
	partitest.Bubble(t, func(t *testing.T, srv *partitest.Server) {
		const parts = 30
		src := source.NewStatic(fleettest.Numbered(parts))
		cfg := parti.Config{Ownership: parti.OwnershipExclusive}
		var ws []*measured
		for range 3 {
			ws = append(ws, newMeasuredWith(t, srv, src, cfg, strategy.NewConsistentHash()))
		}
		fleettest.StartAll(t, ws...)
		time.Sleep(2 * time.Minute)
		var leader, holder *measured
		for _, w := range ws {
			if w.IsLeader() {
				leader = w
			} else {
				holder = w
			}
		}
		holder.slow.Store(true)
		joins := newMeasuredWith(t, srv, src, cfg, strategy.NewConsistentHash())
		fleettest.StartAll(t, joins)
		time.Sleep(time.Minute)
		for range 6 { // longer than the alert waits
			time.Sleep(time.Minute)
			if n := value(t, leader, "parti_unowned_partitions", ""); n == 0 {
				t.Fatal("all partitions have an owner")
			}
		}
		if n := value(t, leader, "parti_errors_total", "handoff"); n == 0 {
			t.Error("the leader does not say who has not let go")
		}
		holder.link.Cut() // its process is killed
		time.Sleep(time.Minute)
		if n := value(t, leader, "parti_unowned_partitions", ""); n != 0 {
			t.Errorf("%v partitions without an owner", n)
		}
		holder.slow.Store(false)
		var live []*parti.Manager
		for _, w := range append(ws, joins) {
			if w != holder {
				live = append(live, w.Manager)
			}
		}
		fleettest.OwnedOnce(t, live, parts)
		time.Sleep(13 * time.Second) // the call of its updater that hung has ended
	})
}

// TestMissingPartitionsAreFound: workers own less than is listed when one is not
// scraped, and when one has died while the leader cannot plan.
func TestMissingPartitionsAreFound(t *testing.T) {
	partitest.Bubble(t, func(t *testing.T, srv *partitest.Server) {
		const parts = 30
		src, strat := source.NewStatic(fleettest.Numbered(parts)), &capricious{AssignmentStrategy: strategy.NewConsistentHash()}
		var ws []*measured
		for range 3 {
			ws = append(ws, newMeasuredWith(t, srv, src, parti.Config{}, strat))
		}
		fleettest.StartAll(t, ws...)
		time.Sleep(time.Minute)
		missing := func(scraped ...*measured) float64 {
			return sumOf(t, "parti_fleet_partitions", scraped...) - sumOf(t, "parti_assigned_partitions", scraped...)
		}
		var leader *measured
		var others []*measured
		for _, w := range ws {
			if w.IsLeader() {
				leader = w
			} else {
				others = append(others, w)
			}
		}
		if n := missing(leader, others[0]); n <= 0 {
			t.Errorf("%v missing of a fleet that is not scraped as a whole", n)
		}
		if n := missing(ws...); n != 0 {
			t.Errorf("%v missing of a whole fleet", n)
		}
		strat.fails.Store(true)
		others[0].link.Cut()        // its process is killed
		time.Sleep(6 * time.Minute) // longer than the alert waits
		live := []*measured{leader, others[1]}
		if n := missing(live...); n <= 0 {
			t.Errorf("%v missing after a death that nobody can plan for", n)
		}
		strat.fails.Store(false)
		time.Sleep(2 * time.Minute)
		if n := missing(live...); n != 0 {
			t.Errorf("%v missing with a strategy that works", n)
		}
	})
}

// seconds adds up the samples of a phase.
func seconds(t *testing.T, phase string, ws ...*measured) (sum float64) {
	t.Helper()
	for _, w := range ws {
		for _, s := range gather(t, w.reg)["parti_rebalance_duration_seconds"].GetMetric() {
			if s.GetLabel()[0].GetValue() == phase {
				sum += s.GetHistogram().GetSampleSum()
			}
		}
	}
	return sum
}

// capricious is a strategy that fails, or takes its time, when told to.
type capricious struct {
	parti.AssignmentStrategy

	fails atomic.Bool
	takes atomic.Int64
}

func (s *capricious) Assign(workers []string, ps []parti.Partition) (map[string][]parti.Partition, error) {
	time.Sleep(time.Duration(s.takes.Load()))
	if s.fails.Load() {
		return nil, errors.New("not today")
	}
	return s.AssignmentStrategy.Assign(workers, ps)
}

// TestPhasesTellWhyAssignmentsComeLate: the phase that is slow is the one that the
// figures name. With its cause it goes, and so does the wait before with a shorter
// window.
func TestPhasesTellWhyAssignmentsComeLate(t *testing.T) {
	partitest.Bubble(t, func(t *testing.T, srv *partitest.Server) {
		src, strat := source.NewStatic(fleettest.Numbered(60)), &capricious{AssignmentStrategy: strategy.NewConsistentHash()}
		const window = 10 * time.Second // the default of PlannedScaleWindow
		var ws []*measured
		for range 2 {
			ws = append(ws, newMeasuredWith(t, srv, src, parti.Config{}, strat))
		}
		fleettest.StartAll(t, ws...)
		time.Sleep(time.Minute)
		leader := ws[0]
		if !leader.IsLeader() {
			leader = ws[1]
		}
		// join returns what the phases took when a worker joined.
		join := func(meanwhile func()) map[string]float64 {
			t.Helper()
			phases := map[string]float64{"plan": 0, "publish": 0, "handoff": 0}
			for phase := range phases {
				phases[phase] = -seconds(t, phase, ws...)
			}
			w := newMeasuredWith(t, srv, src, parti.Config{}, strat)
			done := make(chan struct{})
			go func() {
				defer close(done)
				meanwhile()
			}()
			fleettest.StartAll(t, w)
			<-done
			time.Sleep(time.Minute)
			for phase := range phases {
				phases[phase] += seconds(t, phase, ws...)
			}
			ws = append(ws, w)
			return phases
		}
		for late, c := range map[string]struct{ begins, meanwhile, mends func() }{
			"plan": {
				begins: func() { strat.takes.Store(int64(3 * time.Second)) },
				mends:  func() { strat.takes.Store(0) },
			},
			"publish": {
				meanwhile: func() {
					time.Sleep(window - time.Second)
					leader.link.Blackhole() // NATS answers late
					time.Sleep(3500 * time.Millisecond)
					leader.link.Heal()
				},
			},
			"handoff": {
				begins: func() { setSlow(true, ws...) },
				mends:  func() { setSlow(false, ws...) },
			},
		} {
			nothing := func() {}
			for _, f := range []*func(){&c.begins, &c.meanwhile, &c.mends} {
				if *f == nil {
					*f = nothing
				}
			}
			c.begins()
			phases := join(c.meanwhile)
			c.mends()
			if !leader.IsLeader() {
				t.Fatalf("%s: another leads", late)
			}
			for phase, took := range phases {
				if (took > 2) != (phase == late) {
					t.Errorf("%s is slow, and %s took %v s", late, phase, took)
				}
			}
			for phase, took := range join(nothing) {
				if took > 0.5 {
					t.Errorf("%s is not slow any more, and %s took %v s", late, phase, took)
				}
			}
		}
	})
}

// TestShorterWindowBringsAssignmentsSooner: a join waits for the window.
func TestShorterWindowBringsAssignmentsSooner(t *testing.T) {
	for _, window := range []time.Duration{10 * time.Second, 2 * time.Second} {
		partitest.Bubble(t, func(t *testing.T, srv *partitest.Server) {
			src := source.NewStatic(fleettest.Numbered(60))
			cfg := parti.Config{PlannedScaleWindow: window, Assignment: parti.AssignmentConfig{MinRebalanceInterval: time.Second}}
			first, second := newMeasuredWith(t, srv, src, cfg, strategy.NewConsistentHash()), newMeasuredWith(t, srv, src, cfg, strategy.NewConsistentHash())
			fleettest.StartAll(t, first)
			time.Sleep(time.Minute)
			began := time.Now()
			fleettest.StartAll(t, second) // returns when it has its first assignment
			if took := time.Since(began); took < window || took > window+2*time.Second {
				t.Errorf("with a window of %v: %v", window, took)
			}
			if n := len(second.CurrentAssignment().Partitions); n < 20 {
				t.Errorf("%d partitions", n)
			}
		})
	}
}

func setSlow(slow bool, ws ...*measured) {
	for _, w := range ws {
		w.slow.Store(slow)
	}
}
