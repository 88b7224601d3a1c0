package parti_test

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/arloliu/parti"
	"github.com/arloliu/parti/internal/fleettest"
	"github.com/arloliu/parti/source"
	partitest "github.com/arloliu/parti/testing"
)

// said keeps what is logged, with its time.
type said struct {
	mu    sync.Mutex
	lines []saidLine
}

type saidLine struct {
	at    time.Time
	level string
	msg   string
	pairs map[string]any
}

func (s *said) add(level, msg string, pairs []any) {
	s.mu.Lock()
	defer s.mu.Unlock()
	l := saidLine{at: time.Now(), level: level, msg: msg, pairs: map[string]any{}}
	for i := 0; i+1 < len(pairs); i += 2 {
		l.pairs[pairs[i].(string)] = pairs[i+1]
	}
	s.lines = append(s.lines, l)
}

func (s *said) Debug(msg string, pairs ...any) { s.add("debug", msg, pairs) }
func (s *said) Info(msg string, pairs ...any)  { s.add("info", msg, pairs) }
func (s *said) Warn(msg string, pairs ...any)  { s.add("warn", msg, pairs) }
func (s *said) Error(msg string, pairs ...any) { s.add("error", msg, pairs) }

// all returns the lines since the last time that they were forgotten.
func (s *said) all() []saidLine {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.lines)
}

func (s *said) forget() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.lines = nil
}

// where returns the lines with a message and these values.
func (s *said) where(msg string, pairs ...any) []saidLine {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.DeleteFunc(slices.Clone(s.lines), func(l saidLine) bool {
		for i := 0; i+1 < len(pairs); i += 2 {
			if fmt.Sprint(l.pairs[pairs[i].(string)]) != fmt.Sprint(pairs[i+1]) {
				return true
			}
		}
		return l.msg != msg
	})
}

// told counts the decisions and changes that a worker measures.
type told struct {
	parti.NopMetrics

	mu      sync.Mutex
	plans   []parti.Rebalance
	changes []parti.AppliedChange
	pauses  int
}

func (m *told) ObserveRebalance(r parti.Rebalance) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.plans = append(m.plans, r)
}

func (m *told) ObserveApply(a parti.AppliedChange) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.changes = append(m.changes, a)
}

func (m *told) ObserveHandoffPause(string, time.Duration, int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.pauses++
}

// TestDecisionsAreLogged: each decision of the leader and each change of ownership
// is one line, with the same keys.
func TestDecisionsAreLogged(t *testing.T) {
	partitest.Bubble(t, func(t *testing.T, srv *partitest.Server) {
		src := source.NewStatic(fleettest.Numbered(60))
		var ws []*worker
		var logs []*said
		var metrics []*told
		add := func() *worker {
			log, m := &said{}, &told{}
			w := newWorker(t, srv, parti.Config{}, src, parti.WithLogger(log), parti.WithMetrics(m))
			ws, logs, metrics = append(ws, w), append(logs, log), append(metrics, m)
			return w
		}
		add()
		startAll(t, ws...)
		add()
		add()
		startAll(t, ws[1:]...)
		time.Sleep(time.Minute)
		if !ws[0].IsLeader() {
			t.Fatal("the first worker does not lead")
		}
		ws[1].link.Cut()
		dead := ws[1].WorkerID()
		time.Sleep(30 * time.Second)
		gone := ws[2].WorkerID()
		ws[2].stop(t)
		time.Sleep(time.Minute)
		src.Update(fleettest.Numbered(70))
		if err := ws[0].RefreshPartitions(t.Context()); err != nil {
			t.Error(err)
		}
		time.Sleep(10 * time.Second)
		synctest.Wait()

		leader := logs[0]
		if n := len(leader.where("worker is dead", "peer", dead)); n != 1 {
			t.Errorf("%d lines about the death of %s", n, dead)
		}
		if n := len(leader.where("worker left", "peer", gone)); n != 1 {
			t.Errorf("%d lines about %s leaving", n, gone)
		}
		if n := len(leader.where("leading")); n != 1 {
			t.Errorf("%d lines about leading", n)
		}
		if n := len(leader.where("partitions handed over")); n != metrics[0].pauses || n == 0 {
			t.Errorf("%d lines about handing over, counted %d", n, metrics[0].pauses)
		}
		if len(metrics[0].plans) < 5 {
			t.Errorf("plans %+v", metrics[0].plans)
		}
		for _, p := range metrics[0].plans {
			if n := len(leader.where("rebalance", "reason", p.Reason, "term", p.Term, "version", p.Version, "moves", p.Moves,
				"workers", p.Workers, "partitions", p.Partitions)); n != 1 {
				t.Errorf("%d lines about %+v", n, p)
			}
		}
		for i, m := range metrics {
			if len(m.changes) == 0 {
				t.Errorf("%s has no changes of ownership", ws[i].WorkerID())
			}
			for _, c := range m.changes {
				lines := slices.DeleteFunc(logs[i].where("ownership changed", "term", c.Term, "version", c.Version, "partitions", c.Owned), func(l saidLine) bool {
					return !strings.HasPrefix(l.pairs["added"].(string)+":", fmt.Sprintf("%d:", c.Added)) ||
						!strings.HasPrefix(l.pairs["removed"].(string)+":", fmt.Sprintf("%d:", c.Removed))
				})
				if len(lines) != 1 {
					t.Errorf("%s: %d lines about %+v", ws[i].WorkerID(), len(lines), c)
				}
			}
			for _, l := range logs[i].all() {
				if l.pairs["group"] != "worker" {
					t.Errorf("no group in %+v", l)
				}
			}
		}
	})
}

// TestFlappingConnection: a follower's connection that comes and goes within a second
// moves nothing, degrades nobody and says at most one line per second.
func TestFlappingConnection(t *testing.T) {
	for _, mode := range []parti.Ownership{parti.OwnershipAvailable, parti.OwnershipExclusive} {
		for _, away := range []time.Duration{300 * time.Millisecond, 500 * time.Millisecond} {
			t.Run(fmt.Sprintf("%s, %v", mode, away), func(t *testing.T) {
				partitest.Bubble(t, func(t *testing.T, srv *partitest.Server) {
					src := source.NewStatic(fleettest.Numbered(20))
					log := &said{}
					cfg := parti.Config{Ownership: mode}
					ws := []*worker{newWorker(t, srv, cfg, src)}
					startAll(t, ws...)
					ws = append(ws, newWorker(t, srv, cfg, src, parti.WithLogger(log)))
					startAll(t, ws[1])
					time.Sleep(time.Minute + 100*time.Millisecond)
					flaps(t, ws, ws[1], log, away)
				})
			})
		}
	}
}

// flaps has the connection of a worker come and go.
func flaps(t *testing.T, ws []*worker, flapping *worker, log *said, away time.Duration) {
	t.Helper()
	log.forget()
	moved, term := movedAll(ws...), ws[0].CurrentAssignment().Term
	for range 150 {
		flapping.link.Cut()
		time.Sleep(away)
		flapping.link.Heal()
		time.Sleep(away + 100*time.Millisecond)
	}
	synctest.Wait()
	if n := movedAll(ws...) - moved; n != 0 {
		t.Errorf("%d moves", n)
	}
	if n := ws[0].CurrentAssignment().Term - term; n != 0 {
		t.Errorf("%d changes of the leader", n)
	}
	if slices.Contains(flapping.history(), parti.StateDegraded) {
		t.Error("it was degraded")
	}
	if !flapping.reported(parti.ErrNATSConnectionLost) {
		t.Error("the hook was not told")
	}
	perSecond := map[time.Time][]string{}
	repeated := false
	for _, l := range log.all() {
		s := l.at.Truncate(time.Second)
		perSecond[s] = append(perSecond[s], fmt.Sprint(l.level, " ", l.msg, l.pairs))
		repeated = repeated || l.pairs["repeated"] != nil
	}
	for at, lines := range perSecond {
		if len(lines) > 1 {
			t.Errorf("in the second of %v:\n%s", at, strings.Join(lines, "\n"))
			break
		}
	}
	if away < logged/2 && !repeated {
		t.Error("no line says how often it was withheld")
	}
	time.Sleep(30 * time.Second)
	check(t, 20, ws...)
}

// logged is how often the log says the same at most.
const logged = time.Second
