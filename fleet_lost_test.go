package parti_test

import (
	"errors"
	"os"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/arloliu/parti"
	"github.com/arloliu/parti/internal/fleettest"
	"github.com/arloliu/parti/source"
	partitest "github.com/arloliu/parti/testing"
)

// owners watches who owns what, many times a second.
type owners struct {
	quit, done chan struct{}

	mu      sync.Mutex
	doubles int
	longest time.Duration // that a partition had no owner
}

func watchOwners(parts []parti.Partition, ws ...*worker) *owners {
	o := &owners{quit: make(chan struct{}), done: make(chan struct{})}
	go func() {
		defer close(o.done)
		since := make([]time.Time, len(parts))
		for tick := time.NewTicker(10 * time.Millisecond); ; {
			select {
			case <-o.quit:
				tick.Stop()
				return
			case <-tick.C:
			}
			for i, p := range parts {
				n := 0
				for _, w := range ws {
					if _, ok := w.Owns(p); ok {
						n++
					}
				}
				o.note(&since[i], n)
			}
		}
	}()
	return o
}

func (o *owners) note(since *time.Time, owners int) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if owners > 1 {
		o.doubles++
	}
	if owners > 0 {
		*since = time.Time{}
		return
	}
	if since.IsZero() {
		*since = time.Now()
	}
	o.longest = max(o.longest, time.Since(*since))
}

// end fails if a partition ever had two owners, or none for longer than limit.
func (o *owners) end(t *testing.T, limit time.Duration) {
	t.Helper()
	close(o.quit)
	<-o.done
	if o.doubles > 0 {
		t.Errorf("a partition had two owners, %d times", o.doubles)
	}
	if o.longest > limit {
		t.Errorf("a partition had no owner for %v, want at most %v", o.longest, limit)
	}
}

func admin(t *testing.T, srv *partitest.Server) jetstream.JetStream {
	t.Helper()
	js, err := jetstream.New(srv.Connect(t))
	if err != nil {
		t.Fatal(err)
	}
	return js
}

// thenCrash cuts a follower off and fails unless the others replace it: a fleet
// that only looks healthy would not.
func thenCrash(t *testing.T, parts int, ws ...*worker) {
	t.Helper()
	check(t, parts, ws...)
	leader, others := leaderOf(t, ws...)
	others[0].link.Cut()
	time.Sleep(30 * time.Second)
	fleettest.OwnedOnce(t, []*parti.Manager{leader.Manager, others[1].Manager}, parts)
	others[0].link.Heal()
	time.Sleep(time.Minute)
	check(t, parts, ws...)
}

// unmoved fails if a worker was given, or gave up, a partition.
func unmoved(t *testing.T, ws ...*worker) {
	t.Helper()
	for _, w := range ws {
		if n := w.moved(); n != 0 {
			t.Errorf("%s: %d partitions moved", w.WorkerID(), n)
		}
	}
}

// tokens are those of all that is owned.
func tokens(ws ...*worker) map[string]parti.Token {
	all := map[string]parti.Token{}
	for _, w := range ws {
		for _, p := range w.CurrentAssignment().Partitions {
			all[p.ID()], _ = w.Owns(p)
		}
	}
	return all
}

// noneOlder fails if a partition has a token older than before.
func noneOlder(t *testing.T, before map[string]parti.Token, ws ...*worker) {
	t.Helper()
	for id, token := range tokens(ws...) {
		if token.Less(before[id]) {
			t.Errorf("partition %s has token %v, had %v", id, token, before[id])
		}
	}
}

var bucketNames = []string{"stableid", "election", "heartbeat", "assignment"}

// loseBuckets deletes buckets of a running fleet, which makes them anew: nothing
// moves, and no partition is ever without an owner.
func loseBuckets(t *testing.T, mode parti.Ownership, buckets ...string) {
	t.Helper()
	partitest.Bubble(t, func(t *testing.T, srv *partitest.Server) {
		parts := fleettest.Numbered(30)
		// In memory: the server removes the files of a deleted stream beside its
		// virtual time, and may catch those of the new one.
		cfg := parti.Config{Ownership: mode, KVBucket: parti.KVBucketConfig{Storage: parti.StorageMemory}}
		ws := newWorkers(t, srv, 3, cfg, source.NewStatic(parts))
		startAll(t, ws...)
		time.Sleep(10 * time.Minute)
		before := tokens(ws...)
		o := watchOwners(parts, ws...)
		deleteBuckets(t, srv, buckets...)
		time.Sleep(90 * time.Second)
		o.end(t, 10*time.Millisecond)
		unmoved(t, ws...)
		noneOlder(t, before, ws...)
		thenCrash(t, 30, ws...)
	})
}

func TestBucketIsLost(t *testing.T) {
	for _, mode := range []parti.Ownership{parti.OwnershipAvailable, parti.OwnershipExclusive} {
		for _, bucket := range bucketNames {
			t.Run(bucket+" "+string(mode), func(t *testing.T) { loseBuckets(t, mode, bucket) })
		}
		t.Run("all "+string(mode), func(t *testing.T) { loseBuckets(t, mode, bucketNames...) })
	}
}

func TestServerLosesEverything(t *testing.T) {
	for _, mode := range []parti.Ownership{parti.OwnershipAvailable, parti.OwnershipExclusive} {
		t.Run(string(mode), func(t *testing.T) {
			partitest.Bubble(t, func(t *testing.T, srv *partitest.Server) {
				cfg := parti.Config{Ownership: mode, KVBucket: parti.KVBucketConfig{Storage: parti.StorageMemory}}
				parts := fleettest.Numbered(30)
				ws := newWorkers(t, srv, 3, cfg, source.NewStatic(parts))
				startAll(t, ws...)
				time.Sleep(10 * time.Minute)
				before := tokens(ws...)
				o := watchOwners(parts, ws...)
				srv.Restart()
				time.Sleep(90 * time.Second)
				o.end(t, 10*time.Millisecond)
				unmoved(t, ws...)
				noneOlder(t, before, ws...)
				thenCrash(t, 30, ws...)
			})
		})
	}
}

// TestStateIsRolledBack restores a backup that is older than the last join: the
// head, terms and revisions go back. What workers hold counts.
func TestStateIsRolledBack(t *testing.T) {
	for _, mode := range []parti.Ownership{parti.OwnershipAvailable, parti.OwnershipExclusive} {
		t.Run(string(mode), func(t *testing.T) {
			partitest.Bubble(t, func(t *testing.T, srv *partitest.Server) {
				parts := fleettest.Numbered(30)
				ws := newWorkers(t, srv, 3, parti.Config{Ownership: mode}, source.NewStatic(parts))
				startAll(t, ws[:2]...)
				time.Sleep(time.Minute)
				backup := t.TempDir()
				srv.Shutdown()
				if err := os.CopyFS(backup, os.DirFS(srv.StoreDir())); err != nil {
					t.Fatal(err)
				}
				srv.Restart()
				time.Sleep(time.Second) // until the third one's connection is back, too
				startAll(t, ws[2])
				time.Sleep(time.Minute)
				check(t, 30, ws...)
				had := []int{ws[0].moved(), ws[1].moved(), ws[2].moved()}
				before := tokens(ws...)
				o := watchOwners(parts, ws...)
				srv.Shutdown()
				if err := errors.Join(os.RemoveAll(srv.StoreDir()), os.CopyFS(srv.StoreDir(), os.DirFS(backup))); err != nil {
					t.Fatal(err)
				}
				srv.Restart()
				time.Sleep(90 * time.Second)
				o.end(t, 10*time.Millisecond)
				for i, w := range ws {
					if n := w.moved() - had[i]; n != 0 {
						t.Errorf("%s: %d partitions moved", w.WorkerID(), n)
					}
				}
				noneOlder(t, before, ws...)
				thenCrash(t, 30, ws...)
			})
		})
	}
}

// TestHeadIsLost deletes the head while everybody lives: workers keep what they
// hold until they are told to let go, and nobody starts before.
func TestHeadIsLost(t *testing.T) {
	for _, mode := range []parti.Ownership{parti.OwnershipAvailable, parti.OwnershipExclusive} {
		t.Run(string(mode), func(t *testing.T) {
			partitest.Bubble(t, func(t *testing.T, srv *partitest.Server) {
				parts := fleettest.Numbered(30)
				ws := newWorkers(t, srv, 3, parti.Config{Ownership: mode}, source.NewStatic(parts))
				startAll(t, ws...)
				time.Sleep(time.Minute)
				before := tokens(ws...)
				o := watchOwners(parts, ws...)
				deleteHead(t, srv)
				time.Sleep(time.Minute)
				o.end(t, 50*time.Millisecond)
				check(t, 30, ws...)
				// Whoever looks when it is being rebuilt already has nothing to report.
				if !slices.ContainsFunc(ws, func(w *worker) bool { return w.reported(parti.ErrAssignmentVersionMismatch) }) {
					t.Error("nobody reported it")
				}
				unmoved(t, ws...)
				noneOlder(t, before, ws...)
			})
		})
	}
}

func deleteHead(t *testing.T, srv *partitest.Server) {
	t.Helper()
	kv, err := admin(t, srv).KeyValue(t.Context(), "parti-assignment")
	if err != nil {
		t.Fatal(err)
	}
	if err := kv.Delete(t.Context(), "worker.head"); err != nil {
		t.Fatal(err)
	}
}

// TestHeadIsLostWhileOneIsCutOff: nothing that it holds is granted before its
// lease has ended.
func TestHeadIsLostWhileOneIsCutOff(t *testing.T) {
	partitest.Bubble(t, func(t *testing.T, srv *partitest.Server) {
		parts := fleettest.Numbered(30)
		src := source.NewStatic(parts)
		ws := newWorkers(t, srv, 3, parti.Config{Ownership: parti.OwnershipExclusive}, src)
		startAll(t, ws...)
		time.Sleep(time.Minute)
		o := watchOwners(parts, ws...)
		_, others := leaderOf(t, ws...)
		others[0].link.Cut()
		src.Update(fleettest.Numbered(31)) // whoever rebuilds the head reads it
		deleteHead(t, srv)
		time.Sleep(20 * time.Second)
		o.end(t, 20*time.Second)
		others[0].link.Heal()
		time.Sleep(time.Minute)
		check(t, 31, ws...)
	})
}
