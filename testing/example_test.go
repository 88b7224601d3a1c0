package testing_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/arloliu/parti"
	partitest "github.com/arloliu/parti/testing"
)

// owner is the small interface that the code under test declares for itself: the
// methods it needs. *parti.Manager and *partitest.Fake both satisfy it.
type owner interface {
	Owns(p parti.Partition) (parti.Token, bool)
}

// counter is code under test: it writes counts under the token of the grant.
type counter struct {
	owner owner
	total int
}

func (c *counter) onAssignmentChanged(_ context.Context, added, removed []parti.Partition) error {
	fmt.Println("added", added, "removed", removed)
	return nil
}

func (c *counter) count(p parti.Partition) {
	token, ok := c.owner.Owns(p)
	if !ok {
		fmt.Println("not mine:", p)
		return
	}
	c.total++
	fmt.Println("count of", p, "is", c.total, "by", token)
}

// A fake drives the hooks of your code without NATS and without waiting.
func ExampleFake() {
	c := &counter{}
	fake := partitest.NewFake(partitest.FakeOptions{
		Hooks: &parti.Hooks{OnAssignmentChanged: c.onAssignmentChanged},
	})
	c.owner = fake

	ctx := context.Background()
	if err := fake.Start(ctx); err != nil {
		fmt.Println(err)
		return
	}
	orders := parti.Partition{Keys: []string{"orders", "0"}}
	if err := fake.Grant(orders); err != nil { // returns when the hook has
		fmt.Println(err)
	}
	c.count(orders)
	if err := fake.Revoke(orders); err != nil {
		fmt.Println(err)
	}
	c.count(orders)
	if err := fake.Stop(ctx); err != nil {
		fmt.Println(err)
	}
	// Output:
	// added [orders.0] removed []
	// count of orders.0 is 1 by 1.2
	// added [] removed [orders.0]
	// not mine: orders.0
}

// Half an hour without NATS, in milliseconds.
func ExampleBubble() {
	var t *testing.T // of your test

	partitest.Bubble(t, func(t *testing.T, srv *partitest.Server) {
		nc := srv.Connect(t)
		// Start managers on nc, then take NATS away from them.
		srv.Shutdown()
		time.Sleep(30 * time.Minute)
		srv.Restart()
		_ = nc
	})
}

// One worker cannot reach NATS and does not know it; the others can.
func ExampleLink() {
	var t *testing.T // of your test

	srv := partitest.StartServer(t)
	link := srv.NewLink(t)
	lonely, other := link.Connect(t), srv.Connect(t)
	link.Blackhole()
	// …
	link.Heal()
	_, _ = lonely, other
}

func ExampleCheckStrategy() {
	var t *testing.T                        // of your test
	var myStrategy parti.AssignmentStrategy // of yours

	partitest.CheckStrategy(t, myStrategy)
}
