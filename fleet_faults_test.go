package parti_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/arloliu/parti"
	"github.com/arloliu/parti/internal/fleettest"
	"github.com/arloliu/parti/source"
	"github.com/arloliu/parti/strategy"
	partitest "github.com/arloliu/parti/testing"
)

func TestStartWithoutNATS(t *testing.T) {
	partitest.Bubble(t, func(t *testing.T, srv *partitest.Server) {
		w := newWorker(t, srv, parti.Config{}, source.NewStatic(fleettest.Numbered(3)))
		w.link.Cut()
		time.Sleep(time.Second)
		began := time.Now()
		err := w.Start(t.Context())
		if !errors.Is(err, parti.ErrNATSConnectionLost) || !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("start without NATS: %v", err)
		}
		if took := time.Since(began); took != 30*time.Second {
			t.Errorf("start without NATS took %v, want StartupTimeout", took)
		}
		// It may be repeated, and works once NATS is there.
		w.link.Heal()
		time.Sleep(5 * time.Second)
		startAll(t, w)
		check(t, 3, w)
	})
}

func TestStartWithoutJetStream(t *testing.T) {
	partitest.Bubble(t, func(t *testing.T, srv *partitest.Server) {
		w := newWorker(t, srv, parti.Config{}, source.NewStatic(fleettest.Numbered(3)))
		err := w.Start(t.Context())
		if !errors.Is(err, parti.ErrJetStreamUnavailable) {
			t.Errorf("start without JetStream: %v", err)
		}
	}, partitest.WithoutJetStream())
}

func TestStartOnUnusableBucket(t *testing.T) {
	partitest.Bubble(t, func(t *testing.T, srv *partitest.Server) {
		js, err := jetstream.New(srv.Connect(t))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := js.CreateKeyValue(t.Context(), jetstream.KeyValueConfig{Bucket: "parti-heartbeat", History: 5}); err != nil {
			t.Fatal(err)
		}
		w := newWorker(t, srv, parti.Config{}, source.NewStatic(fleettest.Numbered(3)))
		err = w.Start(t.Context())
		if !errors.Is(err, parti.ErrBucketUnusable) || !strings.Contains(err.Error(), "parti-heartbeat") {
			t.Errorf("start on a bucket with history: %v", err)
		}
	})
}

// TestStartWithoutPermission gives a user no right to JetStream's API.
func TestStartWithoutPermission(t *testing.T) {
	partitest.Bubble(t, func(t *testing.T, srv *partitest.Server) {
		js, err := jetstream.New(srv.Connect(t, nats.UserInfo("poor", "pw")))
		if err != nil {
			t.Fatal(err)
		}
		m, err := parti.NewManager(&parti.Config{StartupTimeout: 5 * time.Second}, js, source.NewStatic(fleettest.Numbered(3)), strategy.NewRoundRobin())
		if err != nil {
			t.Fatal(err)
		}
		began := time.Now()
		err = m.Start(t.Context())
		if err == nil || !strings.Contains(err.Error(), "parti-") {
			t.Errorf("start without permission: %v", err)
		}
		t.Log(err)
		if took := time.Since(began); took > 5*time.Second {
			t.Errorf("start without permission took %v", took)
		}
	}, partitest.WithServerOptions(func(o *server.Options) {
		acc := server.NewAccount("A")
		o.Accounts = []*server.Account{acc}
		o.Users = []*server.User{{Username: "poor", Password: "pw", Account: acc, Permissions: &server.Permissions{
			Publish: &server.SubjectPermission{Allow: []string{"nothing"}},
		}}}
	}))
}

// TestStartWithoutTheRightToBeat may do everything but write heartbeats.
func TestStartWithoutTheRightToBeat(t *testing.T) {
	partitest.Bubble(t, func(t *testing.T, srv *partitest.Server) {
		js, err := jetstream.New(srv.Connect(t, nats.UserInfo("poor", "pw")))
		if err != nil {
			t.Fatal(err)
		}
		m, err := parti.NewManager(&parti.Config{}, js, source.NewStatic(fleettest.Numbered(3)), strategy.NewRoundRobin())
		if err != nil {
			t.Fatal(err)
		}
		err = m.Start(t.Context())
		if !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), "$KV.parti-heartbeat") {
			t.Errorf("start without the right to write heartbeats: %v", err)
		}
		t.Log(err)
	}, partitest.WithServerOptions(func(o *server.Options) {
		o.Users = []*server.User{{Username: "poor", Password: "pw", Permissions: &server.Permissions{
			Publish: &server.SubjectPermission{Deny: []string{"$KV.parti-heartbeat.>"}},
		}}}
	}))
}

func TestForeignAppIsRefused(t *testing.T) {
	partitest.Bubble(t, func(t *testing.T, srv *partitest.Server) {
		src := source.NewStatic(fleettest.Numbered(3))
		ours := newWorker(t, srv, parti.Config{App: "orders"}, src)
		startAll(t, ours)
		err := newWorker(t, srv, parti.Config{App: "billing"}, src).Start(t.Context())
		if !errors.Is(err, parti.ErrForeignApp) || !strings.Contains(err.Error(), "orders") {
			t.Errorf("start of another app: %v", err)
		}
		check(t, 3, ours)
		// Another group shares the buckets without seeing this one.
		other := newWorker(t, srv, parti.Config{App: "billing", Group: "billing"}, src)
		startAll(t, other)
		check(t, 3, other)
		if other.WorkerID() != "worker-0" || ours.WorkerID() != "worker-0" {
			t.Errorf("ids %s and %s, want worker-0 in both groups", other.WorkerID(), ours.WorkerID())
		}
	})
}

func TestSourceFaultsKeepTheLastList(t *testing.T) {
	for name, bad := range map[string]func() ([]parti.Partition, error){
		"error":       func() ([]parti.Partition, error) { return nil, errors.New("database is away") },
		"panic":       func() ([]parti.Partition, error) { panic("database is away") },
		"duplicate":   func() ([]parti.Partition, error) { return append(fleettest.Numbered(8), fleettest.Numbered(1)...), nil },
		"empty key":   func() ([]parti.Partition, error) { return []parti.Partition{{Keys: []string{"a", ""}}}, nil },
		"no keys":     func() ([]parti.Partition, error) { return []parti.Partition{{}}, nil },
		"hangs":       func() ([]parti.Partition, error) { time.Sleep(11 * time.Second); return nil, nil },
		"shrinks":     func() ([]parti.Partition, error) { return fleettest.Numbered(2), nil },
		"turns empty": func() ([]parti.Partition, error) { return nil, nil },
	} {
		t.Run(name, func(t *testing.T) {
			partitest.Bubble(t, func(t *testing.T, srv *partitest.Server) {
				var broken atomic.Bool
				src := sourceFunc(func(context.Context) ([]parti.Partition, error) {
					if broken.CompareAndSwap(true, false) {
						return bad()
					}
					return fleettest.Numbered(8), nil
				})
				ws := newWorkers(t, srv, 2, parti.Config{}, src)
				startAll(t, ws...)
				time.Sleep(time.Minute)
				leader, _ := leaderOf(t, ws...)
				broken.Store(true)
				ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
				defer cancel()
				_ = leader.RefreshPartitions(ctx)
				synctest.Wait()
				if !leader.reported(parti.ErrSource) {
					t.Errorf("reported %v", leader.errors())
				}
				time.Sleep(30 * time.Second)
				check(t, 8, ws...)
				for _, w := range ws {
					if w.moved() != 0 {
						t.Errorf("%s: %d moves", w.WorkerID(), w.moved())
					}
				}
			})
		})
	}
}

type strategyFunc func([]string, []parti.Partition) (map[string][]parti.Partition, error)

func (f strategyFunc) Assign(ws []string, ps []parti.Partition) (map[string][]parti.Partition, error) {
	return f(ws, ps)
}

func TestStrategyFaultsKeepTheLastAssignment(t *testing.T) {
	for name, bad := range map[string]strategyFunc{
		"error": func([]string, []parti.Partition) (map[string][]parti.Partition, error) {
			return nil, errors.New("no idea")
		},
		"panic": func([]string, []parti.Partition) (map[string][]parti.Partition, error) { panic("no idea") },
		"loses": func(ws []string, ps []parti.Partition) (map[string][]parti.Partition, error) {
			return map[string][]parti.Partition{ws[0]: ps[1:]}, nil
		},
		"doubles": func(ws []string, ps []parti.Partition) (map[string][]parti.Partition, error) {
			return map[string][]parti.Partition{ws[0]: ps, ws[1]: ps[:1]}, nil
		},
		"invents": func(ws []string, ps []parti.Partition) (map[string][]parti.Partition, error) {
			return map[string][]parti.Partition{ws[0]: append(slices.Clone(ps), parti.Partition{Keys: []string{"x"}})}, nil
		},
		"stranger": func(_ []string, ps []parti.Partition) (map[string][]parti.Partition, error) {
			return map[string][]parti.Partition{"nobody": ps}, nil
		},
		"hangs": func([]string, []parti.Partition) (map[string][]parti.Partition, error) {
			time.Sleep(11 * time.Second)
			return nil, errors.New("at last")
		},
	} {
		t.Run(name, func(t *testing.T) {
			partitest.Bubble(t, func(t *testing.T, srv *partitest.Server) {
				var broken atomic.Bool
				good := strategy.NewRoundRobin()
				strat := strategyFunc(func(ws []string, ps []parti.Partition) (map[string][]parti.Partition, error) {
					if broken.Load() {
						return bad(ws, ps)
					}
					return good.Assign(ws, ps)
				})
				src := source.NewStatic(fleettest.Numbered(9))
				var ws []*worker
				for range 3 {
					ws = append(ws, newWorkerWith(t, srv, parti.Config{}, src, strat))
				}
				startAll(t, ws[:2]...)
				time.Sleep(time.Minute)
				before := fmt.Sprint(ws[0].CurrentAssignment().Partitions, ws[1].CurrentAssignment().Partitions)
				broken.Store(true)
				started := make(chan error, 1)
				go func() { started <- ws[2].Start(t.Context()) }()
				time.Sleep(15 * time.Second)
				leader, _ := leaderOf(t, ws[:2]...)
				time.Sleep(10 * time.Second)
				if !leader.reported(parti.ErrStrategy) {
					t.Errorf("reported %v", leader.errors())
				}
				if now := fmt.Sprint(ws[0].CurrentAssignment().Partitions, ws[1].CurrentAssignment().Partitions); now != before {
					t.Errorf("assignment %s, was %s", now, before)
				}
				broken.Store(false)
				if err := <-started; err != nil {
					t.Errorf("start once the strategy works: %v", err)
				}
				time.Sleep(5 * time.Second)
				check(t, 9, ws...)
			})
		})
	}
}

// TestDeposedLeaderChangesNothing cuts the leader off without its knowledge, so
// that it goes on to believe in itself, and lets it come back after another one
// was elected.
func TestDeposedLeaderChangesNothing(t *testing.T) {
	partitest.Bubble(t, func(t *testing.T, srv *partitest.Server) {
		src := source.NewStatic(fleettest.Numbered(30))
		ws := newWorkers(t, srv, 3, parti.Config{}, src)
		startAll(t, ws...)
		time.Sleep(time.Minute)
		old, others := leaderOf(t, ws...)
		old.link.Blackhole()
		src.Update(fleettest.Numbered(40)) // so that the deposed one has something to write
		time.Sleep(30 * time.Second)
		leader, _ := leaderOf(t, others...)
		if err := leader.RefreshPartitions(t.Context()); err != nil {
			t.Error(err)
		}
		if old.IsLeader() {
			t.Error("the leader that was cut off still believes to lead after its lease")
		}
		term := leader.CurrentAssignment().Term
		old.link.Heal()
		time.Sleep(time.Minute)
		check(t, 40, ws...)
		if now, _ := leaderOf(t, ws...); now != leader || leader.CurrentAssignment().Term != term {
			t.Errorf("leadership changed when the deposed leader came back")
		}
	})
}
