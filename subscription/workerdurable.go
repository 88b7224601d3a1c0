package subscription

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// workerDurable is the durable of a worker.
type workerDurable struct {
	cfg      *DurableConfig
	js       jetstream.JetStream
	stream   jetstream.Stream
	worker   string
	name     string
	subjects []string       // sorted
	deaths   map[string]int // of owners at the first message, by subject
}

// describedWorker begins the description of a worker's durable; its id follows.
const describedWorker = "parti: worker "

// renew makes the durable anew: it gives what is not acknowledged, in order.
func (d *workerDurable) renew(ctx context.Context) (jetstream.Consumer, error) {
	if err := d.remove(ctx); err != nil {
		return nil, err
	}
	cfg := jetstream.ConsumerConfig{
		Durable:       d.name,
		Description:   describedWorker + d.worker,
		DeliverPolicy: jetstream.DeliverAllPolicy,
		AckPolicy:     jetstream.AckExplicitPolicy,
		AckWait:       d.cfg.AckWait,
		MaxDeliver:    -1,
		MaxAckPending: d.cfg.MaxAckPending,
		Metadata:      d.metadata(ctx),
	}
	if len(d.subjects) == 1 {
		cfg.FilterSubject = d.subjects[0]
	} else {
		cfg.FilterSubjects = d.subjects
	}
	cons, err := d.js.CreateConsumer(ctx, d.cfg.StreamName, cfg)
	if errors.Is(err, jetstream.ErrConsumerMultipleFilterSubjectsNotSupported) {
		// The server has made one without any filter.
		return nil, errors.Join(fmt.Errorf("%w: PerWorker needs a server of 2.10 or later: use PerPartition: %w",
			ErrLayoutUnsupported, err), d.remove(ctx))
	}
	if err != nil {
		return nil, fmt.Errorf("durable %s: %w", d.name, err)
	}
	return cons, nil
}

// takeOver is renew for partitions that were just granted: who still has them in
// its durable has died, or did not let go in time.
func (d *workerDurable) takeOver(ctx context.Context) (jetstream.Consumer, error) {
	d.deaths = make(map[string]int)
	lister := d.stream.ListConsumers(ctx)
	var errs []error
	for info := range lister.Info() {
		errs = append(errs, d.evict(ctx, info))
	}
	if err := errors.Join(append(errs, lister.Err())...); err != nil {
		return nil, fmt.Errorf("look for durables of earlier owners: %w", err)
	}
	return d.renew(ctx)
}

// evict removes a durable that has one of our subjects.
func (d *workerDurable) evict(ctx context.Context, info *jetstream.ConsumerInfo) error {
	filters := append(slices.Clone(info.Config.FilterSubjects), info.Config.FilterSubject)
	var common []string
	for _, s := range d.subjects {
		if slices.Contains(filters, s) {
			common = append(common, s)
		}
	}
	if len(common) == 0 && info.Name != d.name {
		return nil
	}
	worker, ours := strings.CutPrefix(info.Config.Description, describedWorker)
	if !ours || info.Name != durableName(d.cfg.ConsumerPrefix, worker) {
		return fmt.Errorf("%w: %s on stream %s takes messages of %v: delete it, or choose another ConsumerPrefix",
			ErrConsumerMismatch, info.Name, d.cfg.StreamName, common)
	}
	if info.NumAckPending > 0 {
		d.cfg.Metrics.IncrementTakeover()
		d.countDeaths(ctx, info, common)
	}
	if err := d.stream.DeleteConsumer(ctx, info.Name); unlessGone(err) != nil {
		return fmt.Errorf("remove durable %s: %w", info.Name, err)
	}
	return nil
}

// countDeaths notes which messages may have been in hand when their owner died.
// Only the limit of deliveries depends on it.
func (d *workerDurable) countDeaths(ctx context.Context, info *jetstream.ConsumerInfo, subjects []string) {
	if d.cfg.MaxDeliver <= 0 {
		return
	}
	for _, s := range subjects {
		if seq := d.head(ctx, s); seq > 0 && seq <= info.Delivered.Stream {
			d.deaths[s] = 1 + deathsAt(info.Config.Metadata[headKey+"-"+s], seq)
		}
	}
}

// head is the first message of a subject in the stream, or 0.
func (d *workerDurable) head(ctx context.Context, subject string) uint64 {
	msg, err := d.stream.GetMsg(ctx, 1, jetstream.WithGetMsgSubject(subject))
	if err != nil {
		if !errors.Is(err, jetstream.ErrMsgNotFound) && !errors.Is(err, nats.ErrNoResponders) {
			d.cfg.Logger.Warn("death of an owner not counted", "subject", subject, "error", err)
		}
		return 0
	}
	return msg.Sequence
}

// metadata keeps the deaths for the owner that comes next.
func (d *workerDurable) metadata(ctx context.Context) map[string]string {
	m := make(map[string]string)
	for s, n := range d.deaths {
		if seq := d.head(ctx, s); seq > 0 {
			m[headKey+"-"+s] = head{seq, n}.String()
		}
	}
	return m
}

func (d *workerDurable) remove(ctx context.Context) error {
	if err := d.js.DeleteConsumer(ctx, d.cfg.StreamName, d.name); unlessGone(err) != nil {
		return fmt.Errorf("remove durable %s: %w", d.name, err)
	}
	return nil
}
