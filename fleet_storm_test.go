package parti_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/nats-io/nats-server/v2/server"

	"github.com/arloliu/parti"
	"github.com/arloliu/parti/internal/fleettest"
	"github.com/arloliu/parti/source"
	partitest "github.com/arloliu/parti/testing"
)

// TestFlappingForAnHour: a connection that comes and goes every second degrades
// nobody, moves nothing and says at most one line per second.
func TestFlappingForAnHour(t *testing.T) {
	flaps := 3600
	if testing.Short() {
		flaps = 300
	}
	partitest.Bubble(t, func(t *testing.T, srv *partitest.Server) {
		src := source.NewStatic(fleettest.Numbered(20))
		log := &said{}
		ws := []*worker{
			newWorker(t, srv, parti.Config{}, src, parti.WithLogger(log)),
			newWorker(t, srv, parti.Config{}, src, parti.WithLogger(&said{})),
		}
		startAll(t, ws...)
		time.Sleep(time.Minute + 100*time.Millisecond)
		log.mu.Lock()
		log.lines = nil
		log.mu.Unlock()
		for range flaps {
			ws[0].link.Cut()
			time.Sleep(500 * time.Millisecond)
			ws[0].link.Heal()
			time.Sleep(500 * time.Millisecond)
		}
		time.Sleep(exits + 5*time.Second)
		check(t, 20, ws...)
		nothingHappened(t, ws...)
		for _, w := range ws {
			if in, _ := w.moments(); len(in) != 0 {
				t.Errorf("%s was degraded %d times", w.WorkerID(), len(in))
			}
		}
		perSecond := map[time.Time][]string{}
		for _, l := range log.lines {
			if s := l.at.Truncate(time.Second); l.level != "debug" {
				perSecond[s] = append(perSecond[s], fmt.Sprint(l.msg, l.pairs))
			}
		}
		shown := 0
		for at, lines := range perSecond {
			if shown < 3 && len(lines) > 1 {
				t.Errorf("in the second of %v:\n%s", at, strings.Join(lines, "\n"))
				shown++
			}
		}
	})
}

// TestInAndOutAHundredTimes: degraded mode comes and goes any number of times,
// always at the same times, and leaves nothing behind.
func TestInAndOutAHundredTimes(t *testing.T) {
	partitest.Bubble(t, func(t *testing.T, srv *partitest.Server) {
		const times = 100
		ws := newWorkers(t, srv, 3, parti.Config{}, source.NewStatic(fleettest.Numbered(30)))
		startAll(t, ws...)
		time.Sleep(time.Minute)
		var lost, back []time.Time
		for range times {
			lost = append(lost, time.Now())
			for _, w := range ws {
				w.link.Cut()
			}
			time.Sleep(12 * time.Second)
			back = append(back, time.Now())
			for _, w := range ws {
				w.link.Heal()
			}
			time.Sleep(exits + 5*time.Second)
		}
		check(t, 30, ws...)
		nothingHappened(t, ws...)
		for _, w := range ws {
			in, out := w.moments()
			if len(in) != times || len(out) != times {
				t.Fatalf("%s was degraded %d times, and left %d times", w.WorkerID(), len(in), len(out))
			}
			for i := range in {
				if late := in[i].Sub(lost[i]) - enters; late < 0 || late > slack {
					t.Errorf("%s, %d: entered after %v", w.WorkerID(), i, in[i].Sub(lost[i]))
				}
				if late := out[i].Sub(back[i]) - exits; late < 0 || late > 2*slack {
					t.Errorf("%s, %d: left after %v", w.WorkerID(), i, out[i].Sub(back[i]))
				}
			}
			if n := len(w.errors()); n > 20*times {
				t.Errorf("%s reported %d errors", w.WorkerID(), n)
			}
		}
	})
}

// TestStopWhileDegraded: a worker without NATS stops, gives up its work, and its
// place is taken like that of one that crashed.
func TestStopWhileDegraded(t *testing.T) {
	partitest.Bubble(t, func(t *testing.T, srv *partitest.Server) {
		ws := newWorkers(t, srv, 3, parti.Config{}, source.NewStatic(fleettest.Numbered(30)))
		startAll(t, ws...)
		time.Sleep(time.Minute)
		for _, all := range []bool{false, true} {
			leader, others := leaderOf(t, ws...)
			w := others[0]
			if all {
				srv.Shutdown()
			} else {
				w.link.Cut()
			}
			time.Sleep(15 * time.Second)
			synctest.Wait()
			if s := w.State(); s != parti.StateDegraded {
				t.Errorf("%s is %v", w.WorkerID(), s)
			}
			began := time.Now()
			w.stop(t)
			if took := time.Since(began); took > 3*time.Second {
				t.Errorf("Stop took %v", took)
			}
			synctest.Wait()
			w.mu.Lock()
			if len(w.owned) != 0 || len(w.Manager.CurrentAssignment().Partitions) != 0 {
				t.Errorf("it still works on %d partitions", len(w.owned))
			}
			if last := w.states[len(w.states)-1]; last != parti.StateShutdown {
				t.Errorf("its last state is %v", last)
			}
			w.mu.Unlock()
			ws = slices.DeleteFunc(ws, func(o *worker) bool { return o == w })
			if all {
				srv.Restart()
				time.Sleep(exits + 30*time.Second + 5*time.Second) // RecoveryGracePeriod
			}
			check(t, 30, ws...)
			_ = leader
		}
	})
}

// TestOneBucketFails: one worker can do nothing with one bucket, while the others
// answer. It is told, the fleet goes on, and all is well once that ends.
func TestOneBucketFails(t *testing.T) {
	for _, bucket := range []string{"stableid", "election", "heartbeat", "assignment"} {
		for _, leads := range []bool{true, false} {
			t.Run(fmt.Sprintf("%s, leader %v", bucket, leads), func(t *testing.T) {
				partitest.Bubble(t, func(t *testing.T, srv *partitest.Server) {
					ws := poorAmongFree(t, srv, 30, leads)
					poor, free := ws[0], ws[1:]
					time.Sleep(time.Minute)
					check(t, 30, ws...)
					terms := ws[0].CurrentAssignment().Term
					srv.Reload(func(o *server.Options) {
						o.Users[1].Permissions = &server.Permissions{Publish: &server.SubjectPermission{Deny: []string{
							"$KV.parti-" + bucket + ".>",
							"$JS.API.*.*.*.KV_parti-" + bucket, "$JS.API.*.*.*.KV_parti-" + bucket + ".>",
							"$JS.API.*.*.KV_parti-" + bucket, "$JS.API.*.*.KV_parti-" + bucket + ".>",
						}}}
					})
					time.Sleep(2 * time.Minute)
					synctest.Wait()
					// A follower has nothing to do with the leader key.
					if !poor.reported(parti.ErrKV) && (leads || bucket != "election") {
						t.Errorf("reported %v", poor.errors())
					}
					// Whoever leads, a worker that dies now is replaced.
					free[1].link.Cut()
					time.Sleep(75 * time.Second)
					synctest.Wait()
					if leaders := countLeaders(poor, free[0]); leaders != 1 {
						t.Errorf("%d leaders", leaders)
					}
					owned := map[string]bool{}
					for _, w := range []*worker{poor, free[0]} {
						for _, p := range w.CurrentAssignment().Partitions {
							owned[p.ID()] = true
						}
					}
					if len(owned) != 30 && bucket != "assignment" { // it cannot read what it is granted
						t.Errorf("%d partitions have an owner that lives", len(owned))
					}
					if n := free[0].CurrentAssignment().Term - terms; n > 2 {
						t.Errorf("%d changes of the leader", n)
					}
					free[1].link.Heal()
					srv.Reload(func(o *server.Options) { o.Users[1].Permissions = &server.Permissions{} })
					time.Sleep(exits + 5*time.Second + 20*time.Second) // a window, and MinRebalanceInterval
					check(t, 30, ws...)
				}, restricted(server.Permissions{}))
			})
		}
	}
}

func countLeaders(ws ...*worker) int {
	n := 0
	for _, w := range ws {
		if w.IsLeader() {
			n++
		}
	}
	return n
}

// TestLostStateIsBackSoon: all buckets deleted, or a server that kept nothing and was
// away for a moment or for long: the fleet is well ExitThreshold and 5 s later. When
// everybody was degraded meanwhile, whoever leads may wait for ColdStartWindow.
func TestLostStateIsBackSoon(t *testing.T) {
	for _, what := range []string{"deleted", "restarted", "away"} {
		t.Run(what, func(t *testing.T) {
			partitest.Bubble(t, func(t *testing.T, srv *partitest.Server) {
				cfg := parti.Config{}
				if what != "deleted" {
					cfg.KVBucket.Storage = parti.StorageMemory
				}
				ws := newWorkers(t, srv, 3, cfg, source.NewStatic(fleettest.Numbered(30)))
				startAll(t, ws...)
				time.Sleep(time.Minute)
				switch what {
				case "deleted":
					for _, b := range []string{"stableid", "election", "heartbeat", "assignment"} {
						if err := admin(t, srv).DeleteStream(t.Context(), "KV_parti-"+b); err != nil {
							t.Fatal(err)
						}
					}
				case "restarted":
					srv.Restart()
				case "away":
					srv.Shutdown()
					time.Sleep(time.Minute)
					srv.Restart()
				}
				time.Sleep(exits + 5*time.Second)
				if what == "away" {
					time.Sleep(30 * time.Second)
				}
				check(t, 30, ws...)
				nothingHappened(t, ws...)
			})
		})
	}
}
