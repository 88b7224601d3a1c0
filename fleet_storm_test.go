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
	"github.com/arloliu/parti/internal/race"
	"github.com/arloliu/parti/source"
	partitest "github.com/arloliu/parti/testing"
)

// TestFlappingForAnHour: a connection that comes and goes every second degrades
// nobody, moves nothing and says at most one line per second.
func TestFlappingForAnHour(t *testing.T) {
	flaps := 3600
	if testing.Short() || race.Enabled {
		flaps = 300
	}
	partitest.Bubble(t, func(t *testing.T, srv *partitest.Server) {
		src := source.NewStatic(fleettest.Numbered(20))
		log := &said{}
		ws := []*worker{newWorker(t, srv, parti.Config{}, src, parti.WithLogger(log)), newWorker(t, srv, parti.Config{}, src)}
		startAll(t, ws[0])
		startAll(t, ws[1])
		time.Sleep(time.Minute + 100*time.Millisecond)
		if !ws[0].IsLeader() { // a follower flaps in TestFlappingConnection
			t.Fatal("the first worker does not lead")
		}
		moves, terms := ws[0].moved()+ws[1].moved(), ws[0].CurrentAssignment().Term
		log.forget()
		for range flaps {
			ws[0].link.Cut()
			time.Sleep(500 * time.Millisecond)
			ws[0].link.Heal()
			time.Sleep(500 * time.Millisecond)
		}
		rested(t, time.Now(), 0, 20, ws...)
		if n := ws[0].moved() + ws[1].moved() - moves; n != 0 {
			t.Errorf("%d moves", n)
		}
		if n := ws[0].CurrentAssignment().Term - terms; n != 0 {
			t.Errorf("%d changes of the leader", n)
		}
		for _, w := range ws {
			if in, _ := w.moments(); len(in) != 0 {
				t.Errorf("%s was degraded %d times", w.WorkerID(), len(in))
			}
		}
		perSecond := map[time.Time][]string{}
		for _, l := range log.all() {
			s := l.at.Truncate(time.Second)
			perSecond[s] = append(perSecond[s], fmt.Sprint(l.level, " ", l.msg, l.pairs))
		}
		if len(perSecond) < flaps*9/10 || len(log.where("connected to NATS")) != 1 {
			t.Errorf("%d lines, %d of them say that the connection is back", len(perSecond), len(log.where("connected to NATS")))
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
	for _, mode := range []parti.Ownership{parti.OwnershipAvailable, parti.OwnershipExclusive} {
		t.Run(string(mode), func(t *testing.T) {
			partitest.Bubble(t, func(t *testing.T, srv *partitest.Server) { inAndOut(t, srv, mode) })
		})
	}
}

func inAndOut(t *testing.T, srv *partitest.Server, mode parti.Ownership) {
	t.Helper()
	times := 100
	if testing.Short() {
		times = 20
	}
	ws := newWorkers(t, srv, 3, parti.Config{Ownership: mode}, source.NewStatic(fleettest.Numbered(30)))
	startAll(t, ws...)
	time.Sleep(time.Minute)
	had := map[*worker]string{}
	for _, w := range ws {
		had[w] = fmt.Sprint(w.CurrentAssignment().Partitions)
	}
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
		rested(t, back[len(back)-1], 0, 30, ws...)
	}
	if mode == parti.OwnershipAvailable {
		nothingHappened(t, ws...)
	}
	for _, w := range ws {
		if now := fmt.Sprint(w.CurrentAssignment().Partitions); now != had[w] {
			t.Errorf("%s had %s, has %s", w.WorkerID(), had[w], now)
		}
		in, out := w.moments()
		if len(in) != times || len(out) != times {
			t.Fatalf("%s was degraded %d times, and left %d times", w.WorkerID(), len(in), len(out))
		}
		for i := range in {
			if late := in[i].Sub(lost[i]) - enters; late < 0 || late > slack {
				t.Errorf("%s, %d: entered after %v", w.WorkerID(), i, in[i].Sub(lost[i]))
			}
			if up := w.back[i].Sub(back[i]); up < 0 || up > slack {
				t.Errorf("%s, %d: reconnected after %v", w.WorkerID(), i, up)
			}
			if late := out[i].Sub(w.back[i]) - exits; late < 0 || late > slack {
				t.Errorf("%s, %d: left after %v", w.WorkerID(), i, out[i].Sub(w.back[i]))
			}
		}
		if n := len(w.errors()); n > 20*times {
			t.Errorf("%s reported %d errors", w.WorkerID(), n)
		}
		if len(w.alerts) != 0 {
			t.Errorf("%s was alerted %v, and no outage took a minute", w.WorkerID(), w.alerts)
		}
	}
}

// TestStopWhileDegraded: a worker without NATS stops, gives up its work, and its
// place is taken like that of one that crashed: what it had moves, and nothing else.
func TestStopWhileDegraded(t *testing.T) {
	for _, mode := range []parti.Ownership{parti.OwnershipAvailable, parti.OwnershipExclusive} {
		for _, all := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, all %v", mode, all), func(t *testing.T) {
				partitest.Bubble(t, func(t *testing.T, srv *partitest.Server) {
					ws := newWorkers(t, srv, 3, parti.Config{Ownership: mode}, source.NewStatic(fleettest.Numbered(30)))
					startAll(t, ws...)
					time.Sleep(time.Minute)
					_, others := leaderOf(t, ws...)
					w := others[0]
					rest := slices.DeleteFunc(slices.Clone(ws), func(o *worker) bool { return o == w })
					had := len(w.CurrentAssignment().Partitions)
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
					if all {
						srv.Restart()
						rested(t, time.Now(), 30*time.Second, 30, rest...) // RecoveryGracePeriod
					}
					check(t, 30, rest...)
					moves := rest[0].moved() + rest[1].moved()
					if mode == parti.OwnershipExclusive && all { // they gave up, and took back, what they had
						moves -= 2 * (30 - had)
					}
					if moves != had {
						t.Errorf("%d moves, it had %d partitions", moves, had)
					}
				})
			})
		}
	}
}

// denyBucket takes the right to do anything with a bucket from the user "poor".
func denyBucket(srv *partitest.Server, bucket string) {
	srv.Reload(func(o *server.Options) {
		o.Users[1].Permissions = &server.Permissions{Publish: &server.SubjectPermission{Deny: []string{
			"$KV.parti-" + bucket + ".>",
			"$JS.API.*.*.*.KV_parti-" + bucket, "$JS.API.*.*.*.KV_parti-" + bucket + ".>",
			"$JS.API.*.*.KV_parti-" + bucket, "$JS.API.*.*.KV_parti-" + bucket + ".>",
		}}}
	})
}

func movedAll(ws ...*worker) int {
	n := 0
	for _, w := range ws {
		n += w.moved()
	}
	return n
}

// TestOneBucketFails: one worker can do nothing with one bucket, while the others
// answer. It is told, becomes degraded if it needs the bucket, nothing moves unless it
// cannot send heartbeats, and all is well once that ends.
func TestOneBucketFails(t *testing.T) {
	for _, mode := range []parti.Ownership{parti.OwnershipAvailable, parti.OwnershipExclusive} {
		for _, bucket := range bucketNames {
			for _, leads := range []bool{true, false} {
				t.Run(fmt.Sprintf("%s, %s, leader %v", mode, bucket, leads), func(t *testing.T) {
					partitest.Bubble(t, func(t *testing.T, srv *partitest.Server) {
						oneBucketFails(t, srv, mode, bucket, leads)
					}, restricted(server.Permissions{}))
				})
			}
		}
	}
}

func oneBucketFails(t *testing.T, srv *partitest.Server, mode parti.Ownership, bucket string, leads bool) {
	t.Helper()
	ws := poorAmongFree(t, srv, 30, parti.Config{Ownership: mode}, leads)
	poor := ws[0]
	time.Sleep(time.Minute)
	check(t, 30, ws...)
	before, had := movedAll(ws...), len(poor.CurrentAssignment().Partitions)
	denyBucket(srv, bucket)
	lost := time.Now()
	time.Sleep(2 * time.Minute)
	synctest.Wait()
	// A follower has nothing to do with the leader key, and who cannot write it
	// becomes one.
	if !poor.reported(parti.ErrKV) && (leads || bucket != "election") {
		t.Errorf("reported %v", poor.errors())
	}
	in, out := poor.moments()
	if needs := bucket != "election"; needs && (len(in) != 1 || len(out) != 0 || in[0].Sub(lost) > 40*time.Second) || !needs && len(in) != 0 {
		t.Errorf("it was denied the bucket at %v, became degraded %v and left that %v", lost, in, out)
	}
	runs, gone := time.Duration(0), 0
	if bucket == "heartbeat" { // that of a dead one looks the same
		runs, gone = 10*time.Second, had // PlannedScaleWindow
	}
	taken := movedAll(ws[1:]...) + movedAll(poor) - before
	if taken != 2*gone { // lost, and gained
		t.Errorf("%d partitions moved, want %d", taken/2, gone)
	}
	srv.Reload(func(o *server.Options) { o.Users[1].Permissions = &server.Permissions{} })
	rested(t, time.Now(), runs, 30, ws...)
	now := len(poor.CurrentAssignment().Partitions)
	if n := movedAll(ws...) - before - taken; n != 2*min(gone, now) || now > had {
		t.Errorf("%d partitions moved back, it has %d, had %d", n/2, now, had)
	}
}

// TestOneBucketFailsAndAnotherDies: whoever leads, a worker that dies meanwhile is
// replaced.
func TestOneBucketFailsAndAnotherDies(t *testing.T) {
	for _, bucket := range bucketNames {
		for _, leads := range []bool{true, false} {
			t.Run(fmt.Sprintf("%s, leader %v", bucket, leads), func(t *testing.T) {
				partitest.Bubble(t, func(t *testing.T, srv *partitest.Server) {
					ws := poorAmongFree(t, srv, 30, parti.Config{}, leads)
					poor, free := ws[0], ws[1:]
					time.Sleep(time.Minute)
					terms := ws[0].CurrentAssignment().Term
					denyBucket(srv, bucket)
					time.Sleep(2 * time.Minute)
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
					rested(t, time.Now(), 20*time.Second, 30, ws...) // a window, and MinRebalanceInterval
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

// TestLostStateIsBackSoon: a bucket, or all of them, deleted, or a server that kept
// nothing and was away for a moment or for long: the fleet is at rest ExitThreshold
// and 5 s later, nothing has moved, and a crash is found as ever. When all was lost
// while everybody was degraded, whoever leads may wait for ColdStartWindow.
func TestLostStateIsBackSoon(t *testing.T) {
	for _, mode := range []parti.Ownership{parti.OwnershipAvailable, parti.OwnershipExclusive} {
		for _, what := range append([]string{"all deleted", "restarted", "away"}, bucketNames...) {
			t.Run(what+" "+string(mode), func(t *testing.T) {
				partitest.Bubble(t, func(t *testing.T, srv *partitest.Server) {
					cfg := parti.Config{Ownership: mode, KVBucket: parti.KVBucketConfig{Storage: parti.StorageMemory}}
					ws := newWorkers(t, srv, 3, cfg, source.NewStatic(fleettest.Numbered(30)))
					startAll(t, ws...)
					time.Sleep(time.Minute)
					had := map[*worker]string{}
					for _, w := range ws {
						had[w] = fmt.Sprint(w.CurrentAssignment().Partitions)
					}
					runs := time.Duration(0)
					switch what {
					case "restarted":
						srv.Restart()
					case "away":
						srv.Shutdown()
						time.Sleep(time.Minute)
						srv.Restart()
						runs = 30 * time.Second
					case "all deleted":
						deleteBuckets(t, srv, bucketNames...)
					default:
						deleteBuckets(t, srv, what)
					}
					rested(t, time.Now(), runs, 30, ws...)
					for _, w := range ws {
						if now := fmt.Sprint(w.CurrentAssignment().Partitions); now != had[w] {
							t.Errorf("%s had %s, has %s", w.WorkerID(), had[w], now)
						}
					}
					if mode == parti.OwnershipAvailable || what != "away" {
						nothingHappened(t, ws...)
					}
				})
			})
		}
	}
}

func deleteBuckets(t *testing.T, srv *partitest.Server, buckets ...string) {
	t.Helper()
	for _, b := range buckets {
		if err := admin(t, srv).DeleteStream(t.Context(), "KV_parti-"+b); err != nil {
			t.Fatal(err)
		}
	}
}
