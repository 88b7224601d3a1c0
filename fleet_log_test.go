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
			for _, l := range logs[i].lines {
				if l.pairs["group"] != "worker" {
					t.Errorf("no group in %+v", l)
				}
			}
		}
	})
}

// TestFlappingConnection: a connection that comes and goes faster than once per second moves
// nothing, degrades nobody and does not fill the log.
func TestFlappingConnection(t *testing.T) {
	partitest.Bubble(t, func(t *testing.T, srv *partitest.Server) {
		src := source.NewStatic(fleettest.Numbered(20))
		log := &said{}
		ws := []*worker{newWorker(t, srv, parti.Config{}, src)}
		startAll(t, ws...)
		ws = append(ws, newWorker(t, srv, parti.Config{}, src, parti.WithLogger(log)))
		startAll(t, ws[1])
		time.Sleep(time.Minute)
		log.mu.Lock()
		log.lines = nil
		log.mu.Unlock()
		moved := ws[0].moved() + ws[1].moved()
		flapping := ws[1]
		for range 300 {
			flapping.link.Cut()
			time.Sleep(300 * time.Millisecond)
			flapping.link.Heal()
			time.Sleep(400 * time.Millisecond)
		}
		synctest.Wait()
		if n := ws[0].moved() + ws[1].moved() - moved; n != 0 {
			t.Errorf("%d moves", n)
		}
		if slices.Contains(flapping.history(), parti.StateDegraded) {
			t.Error("it was degraded")
		}
		if !flapping.reported(parti.ErrNATSConnectionLost) {
			t.Error("the hook was not told")
		}
		last := map[string]time.Time{}
		perSecond := map[time.Time]int{}
		repeated := false
		for _, l := range log.lines {
			about := fmt.Sprint(l.msg, l.pairs["kind"], l.pairs["reason"], l.pairs["watch"], l.pairs["key"], l.pairs["from"], l.pairs["to"])
			if d := l.at.Sub(last[about]); d < time.Second {
				t.Errorf("%q again after %v", about, d)
			}
			last[about] = l.at
			if l.level != "debug" {
				perSecond[l.at.Truncate(time.Second)]++
			}
			repeated = repeated || l.pairs["repeated"] != nil
		}
		for at, n := range perSecond {
			if n > 3 {
				t.Errorf("%d lines in the second of %v", n, at)
			}
		}
		if !repeated {
			t.Error("no line says how often it was withheld")
		}
		time.Sleep(30 * time.Second)
		check(t, 20, ws...)
	})
}
