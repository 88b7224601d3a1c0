package parti_test

import (
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/arloliu/parti"
	"github.com/arloliu/parti/strategy"
	partitest "github.com/arloliu/parti/testing"
)

// snippet:testing-outage

func TestOutageMovesNothing(t *testing.T) {
	partitest.Bubble(t, func(t *testing.T, srv *partitest.Server) {
		js, err := jetstream.New(srv.Connect(t, parti.NATSOptions()...))
		if err != nil {
			t.Fatal(err)
		}
		mgr, err := parti.NewManager(&parti.Config{}, js, examplePartitions(3), strategy.NewConsistentHash())
		if err != nil {
			t.Fatal(err)
		}
		if err := mgr.Start(t.Context()); err != nil {
			t.Fatal(err)
		}
		before := mgr.CurrentAssignment()

		srv.Shutdown()
		time.Sleep(time.Minute) // of virtual time
		if s := mgr.State(); s != parti.StateDegraded {
			t.Errorf("state without NATS: %v", s)
		}
		if now := mgr.CurrentAssignment(); now.Version != before.Version {
			t.Errorf("version %d without NATS, was %d", now.Version, before.Version)
		}
		srv.Restart()
		if err := mgr.WaitState(t.Context(), parti.StateStable); err != nil {
			t.Error(err)
		}
		if after := mgr.CurrentAssignment(); after.Version != before.Version || len(after.Partitions) != 3 {
			t.Errorf("version %d, was %d; owns %v", after.Version, before.Version, after.Partitions)
		}
		if err := mgr.Stop(t.Context()); err != nil {
			t.Error(err)
		}
	})
}

// snippet:end
