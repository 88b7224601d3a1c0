package parti_test

import (
	"slices"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/arloliu/parti"
	"github.com/arloliu/parti/internal/fleettest"
	"github.com/arloliu/parti/internal/race"
	"github.com/arloliu/parti/source"
	"github.com/arloliu/parti/strategy"
	partitest "github.com/arloliu/parti/testing"
)

// until is the time that passes until done, seen in steps of a hundredth of a
// second.
func until(limit time.Duration, done func() bool) time.Duration {
	began := time.Now()
	for !done() && time.Since(began) < limit {
		time.Sleep(10 * time.Millisecond)
	}
	return time.Since(began)
}

// ownAll tells whether these workers own all partitions.
func ownAll(parts int, ws []*worker) bool {
	n := 0
	for _, w := range ws {
		n += len(w.CurrentAssignment().Partitions)
	}
	return n == parts
}

// TestDeathIsFoundSoon kills a follower, and the leader, at times spread over the
// heartbeat: for the server, and for all others, a connection that goes and does
// not come back is what a killed process leaves, and one that stays and carries
// nothing is what a stopped one leaves.
func TestDeathIsFoundSoon(t *testing.T) {
	phases := 8
	if race.Enabled {
		phases = 2
	}
	fast := parti.Config{
		HeartbeatInterval: 250 * time.Millisecond, HeartbeatTTL: time.Second, EmergencyGracePeriod: 100 * time.Millisecond,
	}
	for _, c := range []struct {
		name  string
		leads bool
		cfg   parti.Config
		conn  []nats.Option
		end   func(*partitest.Link)
		limit time.Duration
	}{
		// The grace, the allowance of the connection, and what may be added to them.
		{"follower", false, parti.Config{}, parti.NATSOptions(), (*partitest.Link).Cut, 2300 * time.Millisecond},
		{"leader", true, parti.Config{}, parti.NATSOptions(), (*partitest.Link).Cut, 2300 * time.Millisecond},
		{"plain connection", false, parti.Config{}, []nats.Option{
			nats.ReconnectWait(nats.DefaultReconnectWait), nats.ReconnectJitter(nats.DefaultReconnectJitter, nats.DefaultReconnectJitterTLS),
		}, (*partitest.Link).Cut, 4100 * time.Millisecond},
		{"fast profile", false, fast, []nats.Option{nats.ReconnectWait(100 * time.Millisecond), nats.ReconnectJitter(0, 0)}, (*partitest.Link).Cut, 600 * time.Millisecond},
		// The lease, the grace, and what it takes to publish.
		{"stopped follower", false, parti.Config{}, parti.NATSOptions(), (*partitest.Link).Blackhole, 7600 * time.Millisecond},
		{"stopped leader", true, parti.Config{}, parti.NATSOptions(), (*partitest.Link).Blackhole, 7600 * time.Millisecond},
		// The lease of a worker is waited for; that of the leader is not.
		{"exclusive follower", false, parti.Config{Ownership: parti.OwnershipExclusive}, parti.NATSOptions(), (*partitest.Link).Cut, 7700 * time.Millisecond},
		{"exclusive leader", true, parti.Config{Ownership: parti.OwnershipExclusive}, parti.NATSOptions(), (*partitest.Link).Cut, 10100 * time.Millisecond},
	} {
		leads := c.leads
		t.Run(c.name, func(t *testing.T) {
			partitest.Bubble(t, func(t *testing.T, srv *partitest.Server) {
				var all []time.Duration
				for phase := range phases {
					src := source.NewStatic(fleettest.Numbered(100))
					cfg := c.cfg
					cfg.Group = "g" + string(rune('a'+phase))
					ws := make([]*worker, 4)
					for i := range ws {
						ws[i] = newWorkerOn(t, srv.NewLink(t), c.conn, cfg, src, strategy.NewConsistentHash())
					}
					startAll(t, ws...)
					time.Sleep(time.Minute + time.Duration(phase)*2*time.Second/time.Duration(phases))
					victim, others := leaderOf(t, ws...)
					if !leads {
						victim = others[0]
					}
					rest := slices.DeleteFunc(slices.Clone(ws), func(w *worker) bool { return w == victim })
					before := map[*worker][]parti.Partition{}
					for _, w := range rest {
						before[w] = w.CurrentAssignment().Partitions
					}
					c.end(victim.link)
					took := until(20*time.Second, func() bool { return ownAll(100, rest) })
					all = append(all, took)
					if took > c.limit {
						t.Errorf("phase %d: owned again after %v, want %v", phase, took, c.limit)
					}
					check(t, 100, rest...)
					for _, w := range rest {
						for _, p := range before[w] {
							if _, ok := w.Owns(p); !ok {
								t.Errorf("%s lost %s", w.WorkerID(), p)
							}
						}
					}
					for _, w := range ws {
						_ = w.Stop(t.Context())
					}
				}
				slices.Sort(all)
				t.Logf("owned again after %v at best, %v at worst", all[0], all[len(all)-1])
			})
		})
	}
}

// TestBlinkIsNoDeath cuts a connection for less than its allowance and the grace.
func TestBlinkIsNoDeath(t *testing.T) {
	partitest.Bubble(t, func(t *testing.T, srv *partitest.Server) {
		ws := newWorkers(t, srv, 4, parti.Config{}, source.NewStatic(fleettest.Numbered(100)))
		startAll(t, ws...)
		time.Sleep(time.Minute)
		for _, w := range ws { // the leader too
			w.link.Cut()
			time.Sleep(1400 * time.Millisecond)
			w.link.Heal()
			time.Sleep(20 * time.Second)
		}
		check(t, 100, ws...)
		for _, w := range ws {
			if n := w.moved(); n != 0 {
				t.Errorf("%s: %d partitions moved", w.WorkerID(), n)
			}
			if slices.Contains(w.history(), parti.StateEmergency) {
				t.Errorf("%s went through %v", w.WorkerID(), w.history())
			}
		}
	})
}
