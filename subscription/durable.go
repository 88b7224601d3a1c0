package subscription

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

// The levels of the JetStream API from which on it can do what makes handoffs
// faster and stricter.
const (
	pinLevel   = 1 // server 2.11: pin a consumer to one client
	resetLevel = 4 // server 2.14: reset a consumer to its ack floor
)

// capabilities are what the server can do beyond what 2.9 can. Without them
// everything is safe and some of it slower.
type capabilities struct{ pin, reset bool }

// askTimeout is how long an update may take to learn what the server can do.
const askTimeout = 2 * time.Second

func askCapabilities(ctx context.Context, js jetstream.JetStream) (capabilities, error) {
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	info, err := js.AccountInfo(ctx)
	if err != nil {
		return capabilities{}, fmt.Errorf("read account: %w", err)
	}
	return capabilities{pin: info.API.Level >= pinLevel, reset: info.API.Level >= resetLevel}, nil
}

// pinGroup is the priority group of every durable that is pinned to its owner.
const pinGroup = "owner"

// pinHeader tells with every delivery to whom the durable is pinned.
const pinHeader = "Nats-Pin-Id"

// pinnedTTL is how long a pin outlives the last pull of its holder. A new owner
// does not wait for it.
const pinnedTTL = 2 * pullExpiry

// Errors of the server that nats.go has no name for.
const codeWorkQueueOverlap jetstream.ErrorCode = 10100

// target is the durable of one partition.
type target struct {
	cfg     *DurableConfig
	js      jetstream.JetStream
	stream  jetstream.Stream
	can     capabilities
	id      string // of the partition
	subject string
	durable string
}

// ensureDurable returns the durable, made if it is missing.
func (d *target) ensureDurable(ctx context.Context) (jetstream.Consumer, error) {
	cons, err := d.js.Consumer(ctx, d.cfg.StreamName, d.durable)
	if errors.Is(err, jetstream.ErrConsumerNotFound) {
		cons, err = d.create(ctx)
	}
	if err != nil {
		return nil, fmt.Errorf("durable %s: %w", d.durable, d.explain(err))
	}
	return d.fit(ctx, cons)
}

func (d *target) create(ctx context.Context) (jetstream.Consumer, error) {
	cons, err := d.js.CreateConsumer(ctx, d.cfg.StreamName, d.durableConfig())
	if errors.Is(err, jetstream.ErrConsumerExists) { // somebody else was faster, or means something else
		return d.js.Consumer(ctx, d.cfg.StreamName, d.durable)
	}
	return cons, err
}

// explain adds the remedy to an error of the server.
func (d *target) explain(err error) error {
	var api *jetstream.APIError
	switch {
	case errors.Is(err, jetstream.ErrStreamNotFound):
		return fmt.Errorf("%w: %s does not exist: %w", ErrStream, d.cfg.StreamName, err)
	case !errors.As(err, &api):
		return err
	case api.ErrorCode == jetstream.JSErrCodeMaximumConsumersLimit:
		return fmt.Errorf("%w: raise MaxConsumers of stream %s to more than the number of partitions (servers from 2.15 on allow "+
			"1,000 unless it says otherwise, and -1 does not): %w", ErrTooManyConsumers, d.cfg.StreamName, err)
	case api.ErrorCode == codeWorkQueueOverlap:
		return fmt.Errorf("%w: another consumer of the work queue %s takes messages of %s: remove it: %w",
			ErrSubject, d.cfg.StreamName, d.subject, err)
	default:
		return err
	}
}

// describedAs begins the description of a durable; the partition's id follows.
const describedAs = "parti: partition "

func (d *target) durableConfig() jetstream.ConsumerConfig {
	cfg := jetstream.ConsumerConfig{
		Durable:       d.durable,
		Description:   describedAs + d.id,
		FilterSubject: d.subject,
		DeliverPolicy: jetstream.DeliverAllPolicy,
		AckPolicy:     jetstream.AckExplicitPolicy,
		AckWait:       d.cfg.AckWait,
		MaxDeliver:    -1, // a limit of the server's strands what an owner dies of
		MaxAckPending: d.cfg.MaxAckPending,
	}
	if d.can.pin {
		cfg.PriorityPolicy, cfg.PriorityGroups, cfg.PinnedTTL = jetstream.PriorityPolicyPinned, []string{pinGroup}, pinnedTTL
	}
	return cfg
}

// pinned reports whether a durable gives messages to one client at a time. One
// that an older server made does not, and cannot be changed.
func pinned(cons jetstream.Consumer) bool {
	return cons.CachedInfo().Config.PriorityPolicy == jetstream.PriorityPolicyPinned
}

// fit checks that an existing durable is ours and brings it up to date.
func (d *target) fit(ctx context.Context, cons jetstream.Consumer) (jetstream.Consumer, error) {
	have, want := cons.CachedInfo().Config, d.durableConfig()
	if have.FilterSubject != want.FilterSubject || len(have.FilterSubjects) > 0 ||
		have.AckPolicy != want.AckPolicy || have.DeliverSubject != "" {
		return nil, fmt.Errorf("%w: %s on stream %s has filter %q, want %q, pulled and acknowledged one by one: delete it, or "+
			"choose another ConsumerPrefix", ErrConsumerMismatch, d.durable, d.cfg.StreamName, have.FilterSubject, want.FilterSubject)
	}
	if have.AckWait == want.AckWait && have.MaxDeliver == want.MaxDeliver && have.MaxAckPending == want.MaxAckPending {
		return cons, nil
	}
	have.AckWait, have.MaxDeliver, have.MaxAckPending = want.AckWait, want.MaxDeliver, want.MaxAckPending
	cons, err := d.js.UpdateConsumer(ctx, d.cfg.StreamName, have)
	if err != nil {
		return nil, fmt.Errorf("update durable %s: %w", d.durable, d.explain(err))
	}
	return cons, nil
}
