package parti_test

import (
	"context"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/arloliu/parti"
	"github.com/arloliu/parti/source"
	"github.com/arloliu/parti/subscription"
)

// What the guide shows of Run; compiled, and run by the tests of Run.
func ExampleManager_Run() {
	// snippet:run
	work := func(ctx context.Context, p parti.Partition, t parti.Token) error {
		for {
			select {
			case <-ctx.Done(): // not ours any more: the return lets the next owner begin
				return nil
			case <-time.After(time.Second):
			}
			if err := save(ctx, p.ID(), t); err != nil {
				return err // reported to OnError; called again, while the partition is ours
			}
		}
	}
	run := func(ctx context.Context, mgr *parti.Manager) error {
		return mgr.Run(ctx, work) // starts the manager; stops it when ctx ends
	}
	// snippet:end
	_ = run
}

func save(context.Context, string, parti.Token) error { return nil }

// What docs/slots.md shows, as a test of package subscription does it.
func doubleSlots(ctx context.Context, js jetstream.JetStream, stream jetstream.Stream, cfg jetstream.StreamConfig,
	from, to *subscription.Slots, src *source.Static, mgr *parti.Manager,
) error {
	// snippet:double-slots
	cfg.SubjectTransform = to.Transform()
	if _, err := js.UpdateStream(ctx, cfg); err != nil {
		return err
	}
	info, err := stream.Info(ctx)
	if err != nil {
		return err
	}
	for {
		drained, err := from.Drained(ctx, stream, info.State.LastSeq)
		if err != nil {
			return err
		}
		if drained {
			break
		}
		time.Sleep(time.Second)
	}
	src.Update(to.Partitions()) // in every worker, any of which may lead
	return mgr.RefreshPartitions(ctx)
	// snippet:end
}

var _ = doubleSlots
