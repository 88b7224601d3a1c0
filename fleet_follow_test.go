package parti_test

import (
	"context"
	"fmt"
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

// followers are updaters that write down what they are told of the list.
type followers struct {
	mu  sync.Mutex
	log []string
}

func (f *followers) say(format string, args ...any) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.log = append(f.log, fmt.Sprintf(format, args...))
}

// said returns what was said since the last call.
func (f *followers) said() string {
	f.mu.Lock()
	defer f.mu.Unlock()
	s := strings.Join(f.log, ", ")
	f.log = nil
	return s
}

type follower struct {
	updater

	name    int
	all     *followers
	panicks bool
}

func (f *follower) FollowPartitions(ctx context.Context, lists <-chan []parti.Partition) {
	if f.panicks {
		panic("oops")
	}
	defer f.all.say("%d ends", f.name)
	for {
		select {
		case list := <-lists:
			f.all.say("%d: %d", f.name, len(list))
		case <-ctx.Done():
			return
		}
	}
}

// The leader's updater, and no other, is told of every list, until the leadership
// ends.
func TestUpdaterFollowsTheList(t *testing.T) {
	partitest.Bubble(t, func(t *testing.T, srv *partitest.Server) {
		src := source.NewStatic(fleettest.Numbered(10))
		all := &followers{}
		ws := make([]*worker, 3)
		for i := range ws {
			ws[i] = newWorker(t, srv, parti.Config{}, src, parti.WithWorkerConsumerUpdater(&follower{name: i, all: all}))
			startAll(t, ws[i])
		}
		if got := all.said(); got != "0: 10" {
			t.Errorf("at the start: %s", got)
		}
		time.Sleep(time.Minute)
		src.Update(fleettest.Numbered(12))
		if err := ws[2].RefreshPartitions(t.Context()); err != nil {
			t.Fatal(err)
		}
		if got := all.said(); got != "0: 12" {
			t.Errorf("after a refresh: %s", got)
		}
		if err := ws[0].Stop(t.Context()); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Minute)
		synctest.Wait()
		leader, _ := leaderOf(t, ws[1:]...)
		now := 1
		if leader == ws[2] {
			now = 2
		}
		if got, want := all.said(), fmt.Sprintf("0 ends, %d: 12", now); got != want {
			t.Errorf("after the leader's end: %s, want %s", got, want)
		}
	})
}

func TestFollowerThatPanicsIsReported(t *testing.T) {
	partitest.Bubble(t, func(t *testing.T, srv *partitest.Server) {
		w := newWorker(t, srv, parti.Config{}, source.NewStatic(fleettest.Numbered(3)),
			parti.WithWorkerConsumerUpdater(&follower{panicks: true}))
		startAll(t, w)
		time.Sleep(time.Minute)
		check(t, 3, w)
		if es := w.errors(); len(es) != 1 || !strings.Contains(es[0].Error(), "FollowPartitions: panic: oops") {
			t.Errorf("reported %v", es)
		}
	})
}
