package parti_test

import (
	"context"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/arloliu/parti"
	"github.com/arloliu/parti/internal/fleettest"
	"github.com/arloliu/parti/source"
	partitest "github.com/arloliu/parti/testing"
)

// TestStuckHookShows: a hook that does not return shows in the status of its worker,
// which lives; one for assignments keeps it from being ready with what it gains.
func TestStuckHookShows(t *testing.T) {
	for _, name := range []string{"OnAssignmentChanged", "OnStateChanged"} {
		t.Run(name, func(t *testing.T) {
			partitest.Bubble(t, func(t *testing.T, srv *partitest.Server) {
				var hangs atomic.Bool
				free := make(chan struct{})
				wait := func() error {
					if hangs.Load() {
						<-free
					}
					return nil
				}
				hooks := &parti.Hooks{}
				switch name {
				case "OnAssignmentChanged":
					hooks.OnAssignmentChanged = func(context.Context, []parti.Partition, []parti.Partition) error { return wait() }
				default:
					hooks.OnStateChanged = func(context.Context, parti.State, parti.State) error { return wait() }
				}
				src := source.NewStatic(fleettest.Numbered(10))
				stuck := newWorker(t, srv, parti.Config{}, src, parti.WithHooks(hooks))
				startAll(t, stuck)
				time.Sleep(time.Minute)
				hangs.Store(true)
				src.Update(fleettest.Numbered(20))
				if err := stuck.RefreshPartitions(t.Context()); err != nil {
					t.Error(err)
				}
				time.Sleep(15 * time.Second)
				synctest.Wait()
				if s := stuck.Status(); s.HookStuck != "" {
					t.Errorf("stuck after 15 s: %s", s.HookStuck)
				}
				time.Sleep(time.Hour)
				synctest.Wait()
				s := stuck.Status()
				if !strings.HasPrefix(s.HookStuck, name+" has not returned for 1h0m") {
					t.Errorf("stuck: %q", s.HookStuck)
				}
				if !s.Live || s.Ready != (name != "OnAssignmentChanged") {
					t.Errorf("live %v, ready %v (%s)", s.Live, s.Ready, s.NotReady)
				}
				hangs.Store(false)
				close(free)
				time.Sleep(10 * time.Second)
				synctest.Wait()
				if s := stuck.Status(); s.HookStuck != "" || !s.Ready || s.Partitions != 20 {
					t.Errorf("afterwards: %+v", s)
				}
			})
		})
	}
}
