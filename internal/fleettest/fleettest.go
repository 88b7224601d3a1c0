// Package fleettest has what tests of whole fleets share. It is imported by
// tests only.
package fleettest

import (
	"context"
	"strconv"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/arloliu/parti"
	"github.com/arloliu/parti/strategy"
)

// Numbered returns n partitions.
func Numbered(n int) []parti.Partition {
	parts := make([]parti.Partition, n)
	for i := range parts {
		parts[i] = parti.Partition{Keys: []string{"topic", strconv.Itoa(i)}}
	}
	return parts
}

// NewManager makes a manager that is stopped when t ends. It is not started.
func NewManager(t *testing.T, nc *nats.Conn, cfg parti.Config, src parti.PartitionSource, opts ...parti.Option) *parti.Manager {
	t.Helper()
	return NewManagerWith(t, nc, cfg, src, strategy.NewConsistentHash(), opts...)
}

// NewManagerWith is NewManager with another strategy.
func NewManagerWith(t *testing.T, nc *nats.Conn, cfg parti.Config, src parti.PartitionSource,
	strat parti.AssignmentStrategy, opts ...parti.Option,
) *parti.Manager {
	t.Helper()
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	m, err := parti.NewManager(&cfg, js, src, strat, opts...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
		defer cancel()
		if err := m.Stop(ctx); err != nil {
			t.Errorf("stop %s: %v", m.WorkerID(), err)
		}
	})
	return m
}

// StartAll starts workers together, in a bubble, and waits until all is quiet.
func StartAll[W interface {
	Start(ctx context.Context) error
}](t *testing.T, ws ...W) {
	t.Helper()
	var wg sync.WaitGroup
	for _, w := range ws {
		wg.Go(func() {
			if err := w.Start(t.Context()); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	synctest.Wait()
}

// OwnedOnce fails unless every one of want partitions is owned by exactly one
// manager.
func OwnedOnce(t *testing.T, ms []*parti.Manager, want int) {
	t.Helper()
	owners := map[string]string{}
	for _, m := range ms {
		for _, p := range m.CurrentAssignment().Partitions {
			if other, twice := owners[p.ID()]; twice {
				t.Errorf("partition %s is owned by %s and %s", p, other, m.WorkerID())
			}
			owners[p.ID()] = m.WorkerID()
		}
	}
	if len(owners) != want {
		t.Errorf("%d partitions of %d are owned", len(owners), want)
	}
}
