package subscription

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/nats-io/nats.go/jetstream"
)

// checkStream reads the stream's configuration and says what is wrong with it
// for these subjects, by partition id.
func checkStream(ctx context.Context, js jetstream.JetStream, name string, subjects map[string]string) error {
	stream, err := js.Stream(ctx, name)
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		return fmt.Errorf("%w: %s does not exist: create it, or correct StreamName: %w", ErrStream, name, err)
	}
	if err != nil {
		return fmt.Errorf("read stream %s: %w", name, err)
	}
	cfg := stream.CachedInfo().Config
	if cfg.MaxConsumers > 0 && cfg.MaxConsumers < len(subjects) {
		return fmt.Errorf("%w: MaxConsumers of %s is %d, this worker alone has %d partitions: raise it to more than the number "+
			"of all partitions, or map keys onto fewer partitions", ErrTooManyConsumers, name, cfg.MaxConsumers, len(subjects))
	}
	if cfg.Mirror != nil || len(cfg.Sources) > 0 || cfg.SubjectTransform != nil {
		return nil // what it holds is named elsewhere
	}
	for id, subject := range subjects {
		tokens := strings.Split(subject, ".")
		if !slices.ContainsFunc(cfg.Subjects, func(s string) bool { return subset(tokens, strings.Split(s, ".")) }) {
			return fmt.Errorf("%w: partition %s: stream %s has no subject %s, only %s: correct SubjectTemplate or add it to the stream",
				ErrSubject, id, name, subject, strings.Join(cfg.Subjects, ", "))
		}
	}
	return nil
}

// Errors of the server that nats.go has no name for.
const codeWorkQueueOverlap jetstream.ErrorCode = 10100

// ensureDurable returns the durable of the partition, made if it is missing.
func (p *partition) ensureDurable(ctx context.Context) (jetstream.Consumer, error) {
	cons, err := p.js.Consumer(ctx, p.cfg.StreamName, p.durable)
	if errors.Is(err, jetstream.ErrConsumerNotFound) {
		cons, err = p.js.CreateConsumer(ctx, p.cfg.StreamName, p.durableConfig())
		if errors.Is(err, jetstream.ErrConsumerExists) { // somebody else was faster, or means something else
			cons, err = p.js.Consumer(ctx, p.cfg.StreamName, p.durable)
		}
	}
	if err != nil {
		return nil, fmt.Errorf("durable %s: %w", p.durable, p.explain(err))
	}
	return p.fit(ctx, cons)
}

// explain adds the remedy to an error of the server.
func (p *partition) explain(err error) error {
	var api *jetstream.APIError
	switch {
	case errors.Is(err, jetstream.ErrStreamNotFound):
		return fmt.Errorf("%w: %s does not exist: %w", ErrStream, p.cfg.StreamName, err)
	case !errors.As(err, &api):
		return err
	case api.ErrorCode == jetstream.JSErrCodeMaximumConsumersLimit:
		return fmt.Errorf("%w: raise MaxConsumers of stream %s to more than the number of partitions (servers from 2.15 on allow "+
			"1,000 unless it says otherwise, and -1 does not): %w", ErrTooManyConsumers, p.cfg.StreamName, err)
	case api.ErrorCode == codeWorkQueueOverlap:
		return fmt.Errorf("%w: another consumer of the work queue %s takes messages of %s: remove it: %w",
			ErrSubject, p.cfg.StreamName, p.subject, err)
	default:
		return err
	}
}

func (p *partition) durableConfig() jetstream.ConsumerConfig {
	return jetstream.ConsumerConfig{
		Durable:       p.durable,
		Description:   "parti: partition " + p.id,
		FilterSubject: p.subject,
		DeliverPolicy: jetstream.DeliverAllPolicy,
		AckPolicy:     jetstream.AckExplicitPolicy,
		AckWait:       p.cfg.AckWait,
		MaxDeliver:    -1, // a limit of the server's strands what an owner dies of
		MaxAckPending: p.cfg.MaxAckPending,
	}
}

// fit checks that an existing durable is ours and brings it up to date.
func (p *partition) fit(ctx context.Context, cons jetstream.Consumer) (jetstream.Consumer, error) {
	have, want := cons.CachedInfo().Config, p.durableConfig()
	if have.FilterSubject != want.FilterSubject || len(have.FilterSubjects) > 0 ||
		have.AckPolicy != want.AckPolicy || have.DeliverSubject != "" {
		return nil, fmt.Errorf("%w: %s on stream %s has filter %q, want %q, pulled and acknowledged one by one: delete it, or "+
			"choose another ConsumerPrefix", ErrConsumerMismatch, p.durable, p.cfg.StreamName, have.FilterSubject, want.FilterSubject)
	}
	if have.AckWait == want.AckWait && have.MaxDeliver == want.MaxDeliver && have.MaxAckPending == want.MaxAckPending {
		return cons, nil
	}
	have.AckWait, have.MaxDeliver, have.MaxAckPending = want.AckWait, want.MaxDeliver, want.MaxAckPending
	cons, err := p.js.UpdateConsumer(ctx, p.cfg.StreamName, have)
	if err != nil {
		return nil, fmt.Errorf("update durable %s: %w", p.durable, p.explain(err))
	}
	return cons, nil
}
