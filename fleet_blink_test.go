package parti_test

import (
	"errors"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"

	"github.com/arloliu/parti"
	"github.com/arloliu/parti/internal/fleettest"
	"github.com/arloliu/parti/source"
	"github.com/arloliu/parti/strategy"
	partitest "github.com/arloliu/parti/testing"
)

// nothingHappened fails if a partition moved or anybody saw an emergency.
func nothingHappened(t *testing.T, ws ...*worker) {
	t.Helper()
	for _, w := range ws {
		if n := w.moved(); n != 0 {
			t.Errorf("%s: %d partitions moved", w.WorkerID(), n)
		}
		if slices.Contains(w.history(), parti.StateEmergency) {
			t.Errorf("%s went through %v", w.WorkerID(), w.history())
		}
	}
}

// TestAllBlink: the server restarts, or every connection is dropped, for 3 s, at
// several phases of the heartbeats and for fleets of several sizes.
func TestAllBlink(t *testing.T) {
	for _, what := range []string{"connections", "server"} {
		t.Run(what, func(t *testing.T) {
			for i, size := range []int{1, 2, 3, 4, 8} {
				partitest.Bubble(t, func(t *testing.T, srv *partitest.Server) {
					ws := newWorkers(t, srv, size, parti.Config{}, source.NewStatic(fleettest.Numbered(100)))
					startAll(t, ws...)
					time.Sleep(time.Minute + time.Duration(i)*370*time.Millisecond)
					if what == "server" {
						srv.Shutdown()
					} else {
						for _, w := range ws {
							w.link.Cut()
						}
					}
					time.Sleep(3 * time.Second)
					if what == "server" {
						srv.Restart()
					}
					for _, w := range ws {
						w.link.Heal()
					}
					time.Sleep(time.Minute)
					check(t, 100, ws...)
					nothingHappened(t, ws...)
				})
			}
		})
	}
}

// restricted are the users of a server: "free" may do all, "poor" may not do what
// is denied. No account is given, so that advisories are what the server makes them.
func restricted(deny server.Permissions) partitest.Option {
	return partitest.WithServerOptions(func(o *server.Options) {
		o.Users = []*server.User{
			{Username: "free", Password: "pw"},
			{Username: "poor", Password: "pw", Permissions: &deny},
		}
	})
}

// TestDeathWithoutPermissions: where notices are not permitted a crash is found
// later, where probes are not its lease decides, and the log says so.
func TestDeathWithoutPermissions(t *testing.T) {
	for name, c := range map[string]struct {
		deny          []string
		least, within time.Duration
	}{
		// Late, twice over: others lost at the same time might be late only then.
		"notices": {[]string{"$JS.EVENT.>"}, 2 * time.Second, 6700 * time.Millisecond},
		"probes":  {[]string{"parti.>"}, 5 * time.Second, 8 * time.Second},
		"both":    {[]string{"parti.>", "$JS.EVENT.>"}, 5 * time.Second, 8 * time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			partitest.Bubble(t, func(t *testing.T, srv *partitest.Server) {
				src := source.NewStatic(fleettest.Numbered(100))
				logs := &warnings{}
				ws := make([]*worker, 4)
				for i := range ws {
					ws[i] = newWorkerAs(t, srv, "poor", parti.Config{}, src, parti.WithLogger(logs))
				}
				startAll(t, ws...)
				time.Sleep(time.Minute)
				_, others := leaderOf(t, ws...)
				rest := slices.DeleteFunc(slices.Clone(ws), func(w *worker) bool { return w == others[0] })
				others[0].link.Cut()
				if took := until(20*time.Second, func() bool { return ownAll(100, rest) }); took < c.least || took > c.within {
					t.Errorf("owned again after %v, want %v to %v", took, c.least, c.within)
				}
				check(t, 100, rest...)
				if !logs.has("a crash is found later than it could be") {
					t.Error("the log does not say that crashes are found later")
				}
			}, restricted(server.Permissions{Subscribe: &server.SubjectPermission{Deny: c.deny}}))
		})
	}
}

// poorAmongFree starts a worker that connects as the user "poor", of whom the server
// takes rights later, and two others. The poor one leads or not.
func poorAmongFree(t *testing.T, srv *partitest.Server, parts int, cfg parti.Config, leads bool) []*worker {
	t.Helper()
	src := source.NewStatic(fleettest.Numbered(parts))
	var ws []*worker
	for _, user := range []string{"poor", "free", "free"} {
		ws = append(ws, newWorkerAs(t, srv, user, cfg, src))
	}
	if leads {
		startAll(t, ws[:1]...)
		startAll(t, ws[1:]...)
	} else {
		startAll(t, ws[1:]...)
		startAll(t, ws[:1]...)
	}
	return ws
}

// TestProbesLostByReload takes the right to answer probes from a worker whose
// heartbeats go on, the leader or not.
func TestProbesLostByReload(t *testing.T) {
	for _, leads := range []bool{false, true} {
		partitest.Bubble(t, func(t *testing.T, srv *partitest.Server) {
			ws := poorAmongFree(t, srv, 100, parti.Config{}, leads)
			poor := ws[0]
			time.Sleep(time.Minute)
			if poor.IsLeader() != leads {
				t.Fatalf("the worker leads: %v", poor.IsLeader())
			}
			for _, w := range ws {
				w.mu.Lock()
				w.moves = 0
				w.mu.Unlock()
			}
			srv.Reload(func(o *server.Options) {
				o.Users[1].Permissions = &server.Permissions{Subscribe: &server.SubjectPermission{Deny: []string{"parti.>"}}}
			})
			time.Sleep(5 * time.Minute)
			check(t, 100, ws...)
			nothingHappened(t, ws...)
			var told []error
			for _, w := range ws {
				told = append(told, w.errors()...)
			}
			if leads && len(told) == 0 {
				return // its followers ask for it only when it seems to be gone
			}
			if len(told) != 1 || !errors.Is(told[0], parti.ErrNATSConnectionLost) || !strings.Contains(told[0].Error(), "answers no probe") {
				t.Errorf("leads %v: reported %v", leads, told)
			}
		}, restricted(server.Permissions{}))
	}
}

// newWorkerAs makes a worker that connects as a user.
func newWorkerAs(t *testing.T, srv *partitest.Server, user string, cfg parti.Config, src parti.PartitionSource, opts ...parti.Option) *worker {
	t.Helper()
	return newWorkerOn(t, srv.NewLink(t), append(parti.NATSOptions(), nats.UserInfo(user, "pw")), cfg, src, strategy.NewConsistentHash(), opts...)
}

// warnings keeps what is logged as a warning.
type warnings struct {
	mu  sync.Mutex
	all []string
}

func (l *warnings) Warn(msg string, _ ...any) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.all = append(l.all, msg)
}

func (*warnings) Debug(string, ...any) {}
func (*warnings) Info(string, ...any)  {}
func (*warnings) Error(string, ...any) {}

func (l *warnings) has(text string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.ContainsFunc(l.all, func(s string) bool { return strings.Contains(s, text) })
}
