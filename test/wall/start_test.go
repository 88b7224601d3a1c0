// Package wall holds the tests that measure wall time on real sockets. They run
// alone: see the Makefile.
package wall

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/arloliu/parti"
	"github.com/arloliu/parti/internal/fleettest"
	"github.com/arloliu/parti/source"
	partitest "github.com/arloliu/parti/testing"
)

// TestManyManagersStartTogether starts 64 managers at the same moment, on real
// sockets and wall time.
func TestManyManagersStartTogether(t *testing.T) {
	const n, partitions = 64, 5000
	srv := partitest.StartServer(t)
	src := source.NewStatic(fleettest.Numbered(partitions))
	ms := make([]*parti.Manager, n)
	for i := range ms {
		ms[i] = fleettest.NewManager(t, srv.Connect(t), parti.Config{}, src)
	}
	began := time.Now()
	var lastJoined time.Time
	var mu sync.Mutex
	var wg sync.WaitGroup
	for i := range ms {
		wg.Go(func() {
			done := make(chan error, 1)
			go func() { done <- ms[i].Start(t.Context()) }()
			if err := ms[i].WaitState(t.Context(), parti.StateWaitingAssignment); err != nil {
				t.Error(err)
			}
			mu.Lock()
			lastJoined = time.Now()
			mu.Unlock()
			if err := <-done; err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	took := time.Since(lastJoined)
	ids := map[string]bool{}
	for _, m := range ms {
		ids[m.WorkerID()] = true
	}
	if len(ids) != n {
		t.Errorf("%d distinct ids, want %d", len(ids), n)
	}
	fleettest.OwnedOnce(t, ms, partitions)
	t.Logf("last joined after %v, all started %v later", lastJoined.Sub(began), took)
	if limit := 3 * time.Second * slow; took > limit {
		t.Errorf("all started %v after the last had joined, want at most %v", took, limit)
	}
}

// TestConcurrentClaims starts 200 workers together: they take the 200 lowest
// ids, for a handful of messages each. Of three attempts the fastest counts, as
// other work on the machine only ever makes it slower.
func TestConcurrentClaims(t *testing.T) {
	const limit = time.Second * slow
	best := time.Hour
	for range 3 {
		best = min(best, concurrentClaims(t))
		if best <= limit {
			return
		}
	}
	t.Errorf("the last id was held after %v, want at most %v", best, limit)
}

func concurrentClaims(t *testing.T) time.Duration {
	t.Helper()
	const n, maxMessages = 200, 16
	srv := partitest.StartServer(t)
	src := source.NewStatic(fleettest.Numbered(1000))
	type claim struct {
		id   string
		at   time.Duration
		sent uint64
	}
	claims := make([]claim, n)
	ms := make([]*parti.Manager, n)
	conns := make([]*nats.Conn, n)
	var began time.Time
	claimed := make(chan struct{}, n)
	for i := range ms {
		conns[i] = srv.Connect(t)
		base := conns[i].Stats().OutMsgs
		log := claimLog{func() {
			claims[i] = claim{at: time.Since(began), sent: conns[i].Stats().OutMsgs - base}
			claimed <- struct{}{}
		}}
		ms[i] = fleettest.NewManager(t, conns[i], parti.Config{WorkerIDMax: 255}, src, parti.WithLogger(log))
	}
	began = time.Now()
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	for i := range ms {
		wg.Go(func() { _ = ms[i].Start(ctx) })
	}
	for range n {
		<-claimed
	}
	for i, m := range ms {
		claims[i].id = m.WorkerID()
	}
	cancel()
	wg.Wait()
	ids := map[string]bool{}
	for _, c := range claims {
		ids[c.id] = true
	}
	for i := range n {
		if id := fmt.Sprintf("worker-%d", i); !ids[id] {
			t.Errorf("%s is not taken", id)
		}
	}
	bySent := slices.MaxFunc(claims, func(a, b claim) int { return cmp.Compare(a.sent, b.sent) })
	byTime := slices.MaxFunc(claims, func(a, b claim) int { return cmp.Compare(a.at, b.at) })
	t.Logf("%d ids taken; at most %d messages, the last after %v", len(ids), bySent.sent, byTime.at)
	if bySent.sent > maxMessages*slow {
		t.Errorf("a worker sent %d messages before it held an id, want at most %d", bySent.sent, maxMessages*slow)
	}
	return byTime.at
}

// claimLog notes the messages sent until an id is held.
type claimLog struct{ on func() }

func (c claimLog) Info(msg string, _ ...any) {
	if msg == "worker id claimed" {
		c.on()
	}
}
func (claimLog) Debug(string, ...any) {}
func (claimLog) Warn(string, ...any)  {}
func (claimLog) Error(string, ...any) {}
