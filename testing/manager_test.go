package testing_test

import (
	"context"

	"github.com/arloliu/parti"
	partitest "github.com/arloliu/parti/testing"
)

// manager is every method that the fake promises to share with the manager.
type manager interface {
	Start(ctx context.Context) error
	Stop(ctx context.Context) error
	WorkerID() string
	IsLeader() bool
	State() parti.State
	CurrentAssignment() parti.Assignment
	RefreshPartitions(ctx context.Context) error
	WaitState(ctx context.Context, s parti.State) error
	Done() <-chan struct{}
	Err() error
	Owns(p parti.Partition) (parti.Token, bool)
}

var (
	_ manager = (*parti.Manager)(nil)
	_ manager = (*partitest.Fake)(nil)
)
