package subscription

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/arloliu/parti"
)

// subjectsOf returns the subjects of partitions, by id, if they can be told
// apart.
func (h *DurableHelper) subjectsOf(parts map[string]parti.Partition) (map[string]string, error) {
	subjects := make(map[string]string, len(parts))
	for id, p := range parts {
		subject, err := h.subjects.of(p)
		if err != nil {
			return nil, err
		}
		if dead := h.cfg.DeadLetterSubject; dead != "" && collide(strings.Split(dead, "."), strings.Split(subject, ".")) {
			return nil, fmt.Errorf("%w: dead letters to %s would come back to partition %s: choose another DeadLetterSubject",
				ErrSubject, dead, id)
		}
		subjects[id] = subject
	}
	return subjects, h.subjects.overlap(subjects)
}

// checkStream reads the stream and says what is wrong with it for these subjects,
// by partition id.
func (h *DurableHelper) checkStream(ctx context.Context, subjects map[string]string, whose string) (jetstream.Stream, error) {
	stream, err := h.readStream(ctx)
	if err != nil {
		return nil, err
	}
	return stream, h.judgeStream(stream, subjects, whose)
}

func (h *DurableHelper) readStream(ctx context.Context) (jetstream.Stream, error) {
	name := h.cfg.StreamName
	stream, err := h.js.Stream(ctx, name)
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		return nil, fmt.Errorf("%w: %s does not exist: create it, or correct StreamName: %w", ErrStream, name, err)
	}
	if err != nil {
		return nil, fmt.Errorf("read stream %s: %w", name, err)
	}
	return stream, nil
}

// judgeStream is checkStream of a stream that was read.
func (h *DurableHelper) judgeStream(stream jetstream.Stream, subjects map[string]string, whose string) error {
	name := h.cfg.StreamName
	cfg := stream.CachedInfo().Config
	if h.cfg.Layout == PerWorker {
		if cfg.Retention != jetstream.WorkQueuePolicy {
			return fmt.Errorf("%w: stream %s has %v retention: a durable per worker skips what waits in a partition that it "+
				"gains, on all but work queues: use PerPartition", ErrLayoutUnsupported, name, cfg.Retention)
		}
	} else if cfg.MaxConsumers > 0 && cfg.MaxConsumers < len(subjects) {
		return fmt.Errorf("%w: MaxConsumers of %s is %d, %s has %d partitions: raise it to more than the number "+
			"of all partitions, or map keys onto fewer partitions", ErrTooManyConsumers, name, cfg.MaxConsumers, whose, len(subjects))
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

// warnOf says once that a replicated interest stream is not safe with its servers:
// the copy of one that restarts may lose what is not acknowledged, and then be the
// one that is read.
func (h *DurableHelper) warnOf(stream jetstream.Stream, can capabilities) {
	cfg := stream.CachedInfo().Config
	if cfg.Retention != jetstream.InterestPolicy || cfg.Replicas < 2 || !can.pin { // servers before 2.11 did not
		return
	}
	if h.warned.CompareAndSwap(false, true) {
		h.cfg.Logger.Warn("nats-server from 2.11 to at least 2.15.2 can lose unacknowledged messages of a replicated interest stream "+
			"when a server restarts: use work-queue or limits retention, or one replica", "stream", cfg.Name, "replicas", cfg.Replicas)
	}
}
