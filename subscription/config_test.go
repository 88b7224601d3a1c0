package subscription

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/arloliu/parti"
	partitest "github.com/arloliu/parti/testing"
)

func nothing(context.Context, jetstream.Msg) error { return nil }

func TestConfigIsRefused(t *testing.T) {
	good := DurableConfig{StreamName: "S", ConsumerPrefix: "c"}
	js, err := jetstream.New(partitest.StartEmbeddedNATS(t))
	ok(t, err)
	if _, err := NewDurableHelperJS(js, good, MessageHandlerFunc(nothing)); err != nil {
		t.Fatalf("the shortest configuration: %v", err)
	}
	for name, c := range map[string]struct {
		change func(*DurableConfig)
		kind   error
		text   string
	}{
		"no stream":         {func(c *DurableConfig) { c.StreamName = "" }, ErrInvalidConfig, "StreamName"},
		"stream with dot":   {func(c *DurableConfig) { c.StreamName = "a.b" }, ErrInvalidConfig, `"a.b"`},
		"no prefix":         {func(c *DurableConfig) { c.ConsumerPrefix = "" }, ErrInvalidConfig, "ConsumerPrefix"},
		"prefix with star":  {func(c *DurableConfig) { c.ConsumerPrefix = "a*" }, ErrInvalidConfig, "ConsumerPrefix"},
		"long prefix":       {func(c *DurableConfig) { c.ConsumerPrefix = strings.Repeat("x", 65) }, ErrInvalidConfig, "64"},
		"batch":             {func(c *DurableConfig) { c.BatchSize = -1 }, ErrInvalidConfig, "BatchSize -1"},
		"ack wait":          {func(c *DurableConfig) { c.AckWait = time.Millisecond }, ErrInvalidConfig, "AckWait 1ms"},
		"max deliver":       {func(c *DurableConfig) { c.MaxDeliver = -2 }, ErrInvalidConfig, "MaxDeliver -2"},
		"max ack pending":   {func(c *DurableConfig) { c.MaxAckPending = -1 }, ErrInvalidConfig, "MaxAckPending -1"},
		"concurrency":       {func(c *DurableConfig) { c.Concurrency = -1 }, ErrInvalidConfig, "Concurrency -1"},
		"handoff":           {func(c *DurableConfig) { c.HandoffTimeout = -1 }, ErrInvalidConfig, "HandoffTimeout"},
		"dead letter":       {func(c *DurableConfig) { c.DeadLetterSubject = "a.>" }, ErrInvalidConfig, "DeadLetterSubject"},
		"backoff":           {func(c *DurableConfig) { c.Backoff = []time.Duration{time.Second, 0} }, ErrInvalidConfig, "Backoff[1]"},
		"layout":            {func(c *DurableConfig) { c.Layout = 7 }, ErrInvalidConfig, "PerPartition"},
		"per worker":        {func(c *DurableConfig) { c.Layout, c.Unordered = PerWorker, true }, ErrInvalidConfig, "PerPartition"},
		"template syntax":   {func(c *DurableConfig) { c.SubjectTemplate = "work.{{" }, ErrInvalidConfig, "SubjectTemplate"},
		"template field":    {func(c *DurableConfig) { c.SubjectTemplate = "work.{{.Partition}}" }, ErrInvalidConfig, "Partition"},
		"template constant": {func(c *DurableConfig) { c.SubjectTemplate = "work.all" }, ErrInvalidConfig, "{{.PartitionID}}"},
		"template subject":  {func(c *DurableConfig) { c.SubjectTemplate = "work. {{.PartitionID}}" }, ErrInvalidConfig, "no subject"},
		"two at once":       {func(c *DurableConfig) { c.BatchSize, c.AckWait = -3, 1 }, ErrInvalidConfig, "BatchSize -3"},
		"two at once (2nd)": {func(c *DurableConfig) { c.BatchSize, c.AckWait = -3, 1 }, ErrInvalidConfig, "AckWait 1ns"},
	} {
		cfg := good
		c.change(&cfg)
		_, err := NewDurableHelperJS(js, cfg, MessageHandlerFunc(nothing))
		if err == nil {
			t.Errorf("%s: accepted", name)
			continue
		}
		wantErr(t, err, c.kind, c.text)
	}
	for name, err := range map[string]error{
		"connection": second(NewDurableHelper(nil, good, MessageHandlerFunc(nothing))),
		"JetStream":  second(NewDurableHelperJS(nil, good, MessageHandlerFunc(nothing))),
		"Handler":    second(NewDurableHelperJS(js, good, nil)),
	} {
		wantErr(t, err, ErrInvalidConfig, name)
	}
}

func second(_ *DurableHelper, err error) error { return err }

// What only the server can say is said by the first update.
func TestUpdateIsRefused(t *testing.T) {
	for name, c := range map[string]struct {
		stream jetstream.StreamConfig
		change func(*DurableConfig)
		ps     []parti.Partition
		kind   error
		text   string
	}{
		"stream":       {change: func(c *DurableConfig) { c.StreamName = "GONE" }, ps: parts(1), kind: ErrStream, text: "GONE"},
		"subject":      {change: func(c *DurableConfig) { c.SubjectTemplate = "other.{{.PartitionID}}" }, ps: parts(1), kind: ErrSubject, text: "other.p.0"},
		"maxconsumers": {stream: jetstream.StreamConfig{MaxConsumers: 3}, ps: parts(4), kind: ErrTooManyConsumers, text: "MaxConsumers of WORK is 3"},
		"same subject": {
			change: func(c *DurableConfig) { c.SubjectTemplate = "work.{{index .Keys 0}}" }, ps: parts(2),
			kind: ErrSubject, text: "overlap",
		},
		"overlap": {
			change: func(c *DurableConfig) { c.SubjectTemplate = "work.{{.PartitionID}}.>" },
			ps:     []parti.Partition{part("a"), part("a", "b")}, kind: ErrSubject, text: "overlap",
		},
		"too few keys": {
			change: func(c *DurableConfig) { c.SubjectTemplate = "work.{{index .Keys 1}}" },
			ps:     []parti.Partition{part("a")}, kind: ErrSubject, text: "partition a",
		},
		"dead letters come back": {
			change: func(c *DurableConfig) { c.DeadLetterSubject = "work.p.0" }, ps: parts(1), kind: ErrSubject, text: "DeadLetterSubject",
		},
	} {
		t.Run(name, func(t *testing.T) {
			inWorld(t, c.stream, func(t *testing.T, w *world) {
				cfg := w.config()
				if c.change != nil {
					c.change(&cfg)
				}
				h := w.helper(cfg, nothing)
				wantErr(t, h.UpdateWorkerConsumer(t.Context(), "w-0", c.ps), c.kind, c.text)
				if got := h.Stats(); len(got) != 0 {
					t.Errorf("consumes %v", got)
				}
			})
		})
	}
}

func TestConsumerLimitAcrossWorkers(t *testing.T) {
	inWorld(t, jetstream.StreamConfig{MaxConsumers: 3}, func(t *testing.T, w *world) {
		a, b := w.helper(w.config(), w.plain), w.helper(w.config(), w.plain)
		ps := parts(4)
		w.assign(a, ps[:2]...)
		err := b.UpdateWorkerConsumer(t.Context(), "w-1", ps[2:])
		wantErr(t, err, ErrTooManyConsumers, "raise MaxConsumers")
		w.publish(2, ps[:2]...)
		w.until(4)
	})
}

func TestForeignConsumers(t *testing.T) {
	for name, c := range map[string]struct {
		retention jetstream.RetentionPolicy
		existing  jetstream.ConsumerConfig
		kind      error
	}{
		"filter": {existing: jetstream.ConsumerConfig{Durable: "w-p", FilterSubject: "work.q", AckPolicy: jetstream.AckExplicitPolicy}, kind: ErrConsumerMismatch},
		"acks":   {existing: jetstream.ConsumerConfig{Durable: "w-p", FilterSubject: "work.p", AckPolicy: jetstream.AckAllPolicy}, kind: ErrConsumerMismatch},
		"queue": {
			retention: jetstream.WorkQueuePolicy,
			existing:  jetstream.ConsumerConfig{Durable: "x", FilterSubject: "work.p", AckPolicy: jetstream.AckExplicitPolicy}, kind: ErrSubject,
		},
	} {
		t.Run(name, func(t *testing.T) {
			inWorld(t, jetstream.StreamConfig{Retention: c.retention}, func(t *testing.T, w *world) {
				_, err := w.js.CreateConsumer(t.Context(), "WORK", c.existing)
				ok(t, err)
				h := w.helper(w.config(), nothing)
				wantErr(t, h.UpdateWorkerConsumer(t.Context(), "w-0", []parti.Partition{part("p")}), c.kind, "p")
			})
		})
	}
}

// A durable of an earlier configuration is brought up to date.
func TestDurableIsUpdated(t *testing.T) {
	inWorld(t, jetstream.StreamConfig{}, func(t *testing.T, w *world) {
		w.assign(w.helper(w.config(), nothing), part("p"))
		cfg := w.config()
		cfg.AckWait, cfg.MaxAckPending = 3*time.Second, 7
		w.assign(w.helper(cfg, nothing), part("p"))
		cons, err := w.js.Consumer(t.Context(), "WORK", "w-p")
		ok(t, err)
		got := cons.CachedInfo().Config
		if got.AckWait != 3*time.Second || got.MaxAckPending != 7 || got.MaxDeliver != -1 || got.FilterSubject != "work.p" {
			t.Errorf("durable is %+v", got)
		}
	})
}
