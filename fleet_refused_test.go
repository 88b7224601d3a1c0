package parti_test

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/arloliu/parti"
	"github.com/arloliu/parti/internal/fleettest"
	"github.com/arloliu/parti/source"
	partitest "github.com/arloliu/parti/testing"
)

// gauges is a collector that keeps what it was told of degraded mode.
type gauges struct {
	parti.NopMetrics

	mu       sync.Mutex
	degraded float64
	alert    int
	lasted   []time.Duration
	failed   map[string]int // operations, by kind of bucket
}

func (g *gauges) SetDegradedMode(v float64) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.degraded = v
}

func (g *gauges) SetAlertLevel(l int) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.alert = l
}

func (g *gauges) ObserveDegradedDuration(d time.Duration) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.lasted = append(g.lasted, d)
}

func (g *gauges) IncrementKVError(bucket string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.failed == nil {
		g.failed = map[string]int{}
	}
	g.failed[bucket]++
}

func (g *gauges) failures(bucket string) int {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.failed[bucket]
}

// ended fails unless degraded mode is over, after periods of these lengths to the
// second.
func (g *gauges) ended(t *testing.T, want ...time.Duration) {
	t.Helper()
	synctest.Wait()
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.degraded != 0 || g.alert != 0 {
		t.Errorf("degraded mode %v, alert level %d", g.degraded, g.alert)
	}
	same := func(a, b time.Duration) bool { return (a - b).Abs() <= time.Second }
	if !slices.EqualFunc(g.lasted, want, same) {
		t.Errorf("periods of degraded mode %v, want %v", g.lasted, want)
	}
}

// refuseWrites has a bucket refuse every write, as one does that has reached a limit,
// or take them again.
func refuseWrites(t *testing.T, srv *partitest.Server, bucket string, refuse bool) {
	t.Helper()
	js, err := jetstream.New(srv.Connect(t, nats.UserInfo("free", "pw")))
	if err != nil {
		t.Fatal(err)
	}
	s, err := js.Stream(t.Context(), "KV_parti-"+bucket)
	if err != nil {
		t.Fatal(err)
	}
	c := s.CachedInfo().Config
	if c.MaxMsgSize = -1; refuse {
		c.MaxMsgSize = 1
	}
	if _, err := js.UpdateStream(t.Context(), c); err != nil {
		t.Fatal(err)
	}
}

// denyWrites takes the right to write a bucket from the user "poor", or gives it back.
func denyWrites(srv *partitest.Server, bucket string, deny bool) {
	srv.Reload(func(o *server.Options) {
		o.Users[1].Permissions = &server.Permissions{}
		if deny {
			o.Users[1].Permissions.Publish = &server.SubjectPermission{Deny: []string{"$KV.parti-" + bucket + ".>"}}
		}
	})
}

// TestABucketFailsForEverybody: nobody can write one of the buckets, while everything
// else works. Nothing moves; who needs the bucket becomes degraded once, stays so until
// it can be written again, and is alerted like in any other outage.
func TestABucketFailsForEverybody(t *testing.T) {
	const parts, outage = 30, 3 * time.Minute
	for _, c := range []struct {
		bucket string
		denied bool
		mode   parti.Ownership
	}{
		{"stableid", false, parti.OwnershipAvailable},
		{"stableid", true, parti.OwnershipExclusive},
		{"election", false, parti.OwnershipExclusive},
		{"election", true, parti.OwnershipAvailable},
		{"heartbeat", false, parti.OwnershipAvailable},
		{"heartbeat", true, parti.OwnershipAvailable},
		{"heartbeat", false, parti.OwnershipExclusive},
		{"assignment", false, parti.OwnershipAvailable},
	} {
		how := "refused"
		fail := func(t *testing.T, srv *partitest.Server, on bool) { t.Helper(); refuseWrites(t, srv, c.bucket, on) }
		if c.denied {
			how = "denied"
			fail = func(_ *testing.T, srv *partitest.Server, on bool) { denyWrites(srv, c.bucket, on) }
		}
		t.Run(c.bucket+" "+how+" "+string(c.mode), func(t *testing.T) {
			partitest.Bubble(t, func(t *testing.T, srv *partitest.Server) {
				src := source.NewStatic(fleettest.Numbered(parts))
				cfg := parti.Config{Ownership: c.mode, DegradedAlert: parti.DegradedAlertConfig{WarnThreshold: 2 * time.Minute, AlertInterval: time.Hour}}
				var ws []*worker
				var gs []*gauges
				for range 3 {
					gs = append(gs, &gauges{})
					ws = append(ws, newWorkerAs(t, srv, "poor", cfg, src, parti.WithMetrics(gs[len(gs)-1])))
				}
				startAll(t, ws...)
				time.Sleep(time.Minute)
				check(t, parts, ws...)
				before, owned := movedAll(ws...), fmt.Sprint(tokens(ws...))
				fail(t, srv, true)
				more := 0
				if c.bucket == "assignment" { // something to write
					more = 5
					src.Update(fleettest.Numbered(parts + more))
					go func() { _ = ws[0].RefreshPartitions(t.Context()) }() // it is there or not
				}
				lost := time.Now()
				time.Sleep(outage)
				synctest.Wait()
				gaveUp := c.mode == parti.OwnershipExclusive && c.bucket == "heartbeat" // leases end
				if n := movedAll(ws...) - before; n != 0 && !gaveUp {
					t.Errorf("%d moves while writes failed", n)
				}
				for i, w := range ws {
					in, out := w.moments()
					if len(in) != 1 || len(out) != 0 || in[0].Sub(lost) > 40*time.Second {
						t.Errorf("%s entered degraded mode %v and left it %v after the loss", w.WorkerID(), in, out)
					}
					w.mu.Lock()
					if len(w.alerts) != 2 || !strings.HasPrefix(w.alerts[0], "Info") || !strings.HasPrefix(w.alerts[1], "Warn") {
						t.Errorf("%s was alerted %v", w.WorkerID(), w.alerts)
					}
					w.mu.Unlock()
					if gs[i].failures(kindOfBucket[c.bucket]) == 0 {
						t.Errorf("%s counted no failed operations", w.WorkerID())
					}
				}
				fail(t, srv, false)
				runs := time.Duration(0)
				if more > 0 {
					runs = 20 * time.Second // a window, and MinRebalanceInterval
				}
				rested(t, time.Now(), runs, parts+more, ws...)
				if now := fmt.Sprint(tokens(ws...)); !gaveUp && more == 0 && now != owned {
					t.Errorf("owned %s, now %s", owned, now)
				}
				for i, w := range ws {
					in, out := w.moments()
					if len(in) == 1 && len(out) == 1 {
						gs[i].ended(t, out[0].Sub(in[0]))
					} else {
						t.Errorf("%s entered degraded mode %d times and left it %d times", w.WorkerID(), len(in), len(out))
					}
				}
			}, restricted(server.Permissions{}))
		})
	}
}

// kindOfBucket is how metrics name a bucket.
var kindOfBucket = map[string]string{"stableid": "ids", "election": "election", "heartbeat": "heartbeats", "assignment": "assignments"}

// TestStopWhenABucketFails: who cannot write a bucket stops all the same, without an
// error, and without waiting for what cannot come; its place is taken.
func TestStopWhenABucketFails(t *testing.T) {
	for _, mode := range []parti.Ownership{parti.OwnershipAvailable, parti.OwnershipExclusive} {
		for _, bucket := range bucketNames {
			for how, limit := range map[string]time.Duration{"refused": time.Second, "denied": 7 * time.Second} {
				t.Run(bucket+" "+how+" "+string(mode), func(t *testing.T) {
					partitest.Bubble(t, func(t *testing.T, srv *partitest.Server) {
						src := source.NewStatic(fleettest.Numbered(30))
						cfg := parti.Config{Ownership: mode}
						g := &gauges{}
						ws := []*worker{
							newWorkerAs(t, srv, "poor", cfg, src, parti.WithMetrics(g)), newWorkerAs(t, srv, "free", cfg, src),
							newWorkerAs(t, srv, "free", cfg, src),
						}
						startAll(t, ws[:1]...)
						startAll(t, ws[1:]...)
						time.Sleep(time.Minute)
						switch how {
						case "refused":
							refuseWrites(t, srv, bucket, true)
						default:
							denyWrites(srv, bucket, true)
						}
						time.Sleep(30 * time.Second)
						in, _ := ws[0].moments()
						began := time.Now()
						ws[0].stop(t)
						if took := time.Since(began); took > limit {
							t.Errorf("Stop took %v", took)
						}
						ws[0].mu.Lock()
						if len(ws[0].owned) != 0 {
							t.Errorf("it still works on %d partitions", len(ws[0].owned))
						}
						ws[0].mu.Unlock()
						if len(in) == 1 {
							g.ended(t, began.Sub(in[0]))
						} else {
							g.ended(t)
						}
						refuseWrites(t, srv, bucket, false)
						rested(t, time.Now(), 40*time.Second, 30, ws[1:]...) // RecoveryGracePeriod, a window
					}, restricted(server.Permissions{}))
				})
			}
		}
	}
}
