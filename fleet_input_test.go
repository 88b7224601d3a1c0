package parti_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/arloliu/parti"
	"github.com/arloliu/parti/internal/fleettest"
	"github.com/arloliu/parti/internal/race"
	"github.com/arloliu/parti/source"
	"github.com/arloliu/parti/strategy"
	partitest "github.com/arloliu/parti/testing"
)

// moody is a source whose mood changes.
type moody struct {
	mu    sync.Mutex
	lists func(context.Context) ([]parti.Partition, error)
	reads int
}

func newMoody(n int) *moody {
	m := &moody{}
	m.be(func(context.Context) ([]parti.Partition, error) { return fleettest.Numbered(n), nil })
	return m
}

func (m *moody) be(f func(context.Context) ([]parti.Partition, error)) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.lists = f
}

func (m *moody) ListPartitions(ctx context.Context) ([]parti.Partition, error) {
	m.mu.Lock()
	f := m.lists
	m.reads++
	m.mu.Unlock()
	return f(ctx)
}

func (m *moody) count() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.reads
}

// kept fails unless everybody has what it had, and nobody moved anything.
func kept(t *testing.T, parts int, ws ...*worker) {
	t.Helper()
	check(t, parts, ws...)
	nothingHappened(t, ws...)
}

var errAway = errors.New("the database is away")

// TestSourceIsBadForLong: a source that is read every 20 s errs, hangs, lists
// nothing twice or names twice what it lists, for five minutes. The last good list
// stays, the leader too, and what comes afterwards is followed.
func TestSourceIsBadForLong(t *testing.T) {
	for name, bad := range map[string]func(context.Context) ([]parti.Partition, error){
		"errs": func(context.Context) ([]parti.Partition, error) { return nil, errAway },
		"hangs": func(ctx context.Context) ([]parti.Partition, error) {
			<-ctx.Done()
			return nil, ctx.Err()
		},
		"duplicates": func(context.Context) ([]parti.Partition, error) {
			return append(fleettest.Numbered(12), fleettest.Numbered(1)...), nil
		},
	} {
		t.Run(name, func(t *testing.T) {
			partitest.Bubble(t, func(t *testing.T, srv *partitest.Server) {
				src := newMoody(12)
				cfg := parti.Config{RefreshInterval: 20 * time.Second}
				ws := newWorkers(t, srv, 3, cfg, src)
				startAll(t, ws...)
				time.Sleep(time.Minute)
				leader, _ := leaderOf(t, ws...)
				term := leader.CurrentAssignment().Term
				src.be(bad)
				time.Sleep(5 * time.Minute)
				kept(t, 12, ws...)
				if !leader.IsLeader() || leader.CurrentAssignment().Term != term {
					t.Error("leadership changed although plans can be made")
				}
				if !leader.reported(parti.ErrSource) || name == "errs" && !leader.reported(errAway) ||
					name == "hangs" && !leader.reported(context.DeadlineExceeded) {
					t.Errorf("reported %v", leader.errors()[:min(3, len(leader.errors()))])
				}
				src.be(newMoody(15).lists)
				time.Sleep(45 * time.Second)
				check(t, 15, ws...)
			})
		})
	}
}

// TestRefreshInterval: the leader reads its source at this interval, and follows.
func TestRefreshInterval(t *testing.T) {
	for interval, least := range map[time.Duration]int{30 * time.Second: 19, 0: 0} {
		partitest.Bubble(t, func(t *testing.T, srv *partitest.Server) {
			src := newMoody(12)
			cfg := parti.Config{RefreshInterval: interval}
			ws := newWorkers(t, srv, 2, cfg, src)
			startAll(t, ws...)
			time.Sleep(time.Second)
			before := src.count()
			time.Sleep(10 * time.Minute)
			if n := src.count() - before; n < least || n > least+2 {
				t.Errorf("RefreshInterval %v: %d reads in 10 min", interval, n)
			}
			src.be(newMoody(15).lists)
			time.Sleep(interval + 15*time.Second) // and PlannedScaleWindow
			want := 12
			if interval > 0 {
				want = 15
			}
			check(t, want, ws...)
		})
	}
}

// TestShortList: a list that is suddenly short, or empty, is believed after
// MinRebalanceInterval, when it is still so; a list that is long again is not
// touched, and a change of the leader in between shrinks nothing by itself.
func TestShortList(t *testing.T) {
	for name, short := range map[string]int{"short": 3, "empty": 0} {
		for _, crash := range []bool{false, true} {
			for _, stays := range []bool{true, false} {
				t.Run(fmt.Sprintf("%s, leader dies %v, stays %v", name, crash, stays), func(t *testing.T) {
					partitest.Bubble(t, func(t *testing.T, srv *partitest.Server) {
						src := newMoody(12)
						interval := 20 * time.Second
						cfg := parti.Config{Assignment: parti.AssignmentConfig{MinRebalanceInterval: interval}}
						ws := newWorkers(t, srv, 3, cfg, src)
						startAll(t, ws...)
						time.Sleep(time.Minute)
						leader, others := leaderOf(t, ws...)
						src.be(newMoody(short).lists)
						ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
						defer cancel()
						_ = leader.RefreshPartitions(ctx) // answered only when it is believed
						synctest.Wait()
						if !leader.reported(parti.ErrSource) {
							t.Errorf("reported %v", leader.errors())
						}
						kept(t, 12, ws...)
						live := ws
						if crash {
							leader.link.Cut()
							live = others
							time.Sleep(10 * time.Second)
							check(t, 12, live...)
						}
						time.Sleep(interval - 12*time.Second) // less than the interval since the read, or the election
						check(t, 12, live...)
						if !stays {
							src.be(newMoody(12).lists)
						}
						time.Sleep(time.Minute)
						want := 12
						if stays {
							want = short
						}
						check(t, want, live...)
					})
				})
			}
		}
	}
}

// TestNoPlanForLong: while no plan can be made, leaders resign for others to
// try, ever more seldom; nobody loses anything, and the first good plan is taken.
func TestNoPlanForLong(t *testing.T) {
	long := time.Hour
	if race.Enabled {
		long = 10 * time.Minute
	}
	for name, bad := range map[string]strategyFunc{
		"errs":   func([]string, []parti.Partition) (map[string][]parti.Partition, error) { return nil, errAway },
		"panics": func([]string, []parti.Partition) (map[string][]parti.Partition, error) { panic(errAway) },
		"hangs": func([]string, []parti.Partition) (map[string][]parti.Partition, error) {
			time.Sleep(25 * time.Second)
			return nil, errAway
		},
	} {
		t.Run(name, func(t *testing.T) {
			partitest.Bubble(t, func(t *testing.T, srv *partitest.Server) {
				var mu sync.Mutex
				broken := false
				good := strategy.NewConsistentHash()
				strat := strategyFunc(func(ws []string, ps []parti.Partition) (map[string][]parti.Partition, error) {
					mu.Lock()
					now := broken
					mu.Unlock()
					if now {
						return bad(ws, ps)
					}
					return good.Assign(ws, ps)
				})
				src := source.NewStatic(fleettest.Numbered(12))
				var ws []*worker
				for range 3 {
					// A source that is well does not make up for the strategy.
					ws = append(ws, newWorkerWith(t, srv, parti.Config{RefreshInterval: 20 * time.Second}, src, strat))
				}
				startAll(t, ws...)
				time.Sleep(time.Minute)
				term := ws[0].CurrentAssignment().Term
				mu.Lock()
				broken = true
				mu.Unlock()
				src.Update(fleettest.Numbered(15))
				go func() { _ = ws[0].RefreshPartitions(t.Context()) }()
				time.Sleep(long)
				synctest.Wait()
				var leader *worker
				for _, w := range ws {
					if w.moved() != 0 {
						t.Errorf("%s: %d moves", w.WorkerID(), w.moved())
					}
					if w.IsLeader() {
						leader = w
					}
				}
				fleettest.OwnedOnce(t, []*parti.Manager{ws[0].Manager, ws[1].Manager, ws[2].Manager}, 12)
				if leader == nil || !leader.reported(parti.ErrStrategy) {
					t.Error("no leader, or it reported nothing")
				}
				n := ws[0].CurrentAssignment().Term - term
				t.Logf("%d changes of the leader in %v", n, long)
				if n < 2 || n > 25 {
					t.Errorf("%d changes of the leader in %v", n, long)
				}
				mu.Lock()
				broken = false
				mu.Unlock()
				time.Sleep(2 * time.Minute)
				for _, w := range ws {
					if w.IsLeader() {
						if err := w.RefreshPartitions(t.Context()); err != nil {
							t.Error(err)
						}
						break
					}
				}
				time.Sleep(30 * time.Second)
				check(t, 15, ws...)
			})
		})
	}
}

// TestSourceOfTheNextLeaderIsBad: a leader that has never read a list resigns, and
// the one whose source works follows what the list has become.
func TestSourceOfTheNextLeaderIsBad(t *testing.T) {
	partitest.Bubble(t, func(t *testing.T, srv *partitest.Server) {
		srcs := []*moody{newMoody(12), newMoody(12), newMoody(12)}
		ws := make([]*worker, 3)
		for i := range ws {
			ws[i] = newWorker(t, srv, parti.Config{}, srcs[i])
		}
		startAll(t, ws...)
		time.Sleep(time.Minute)
		leader, others := leaderOf(t, ws...)
		well := -1
		for i, w := range ws {
			if w == leader {
				continue
			}
			if well < 0 {
				well = i // of the two that are left
				srcs[i].be(newMoody(15).lists)
			} else {
				srcs[i].be(func(context.Context) ([]parti.Partition, error) { return nil, errAway })
			}
		}
		leader.link.Cut()
		time.Sleep(90 * time.Second)
		check(t, 15, others...)
		if !ws[well].IsLeader() {
			t.Errorf("%s does not lead", ws[well].WorkerID())
		}
	})
}
