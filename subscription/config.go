package subscription

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/arloliu/parti"
)

// MessageHandler handles one message. Returning nil acknowledges it, if the
// handler has not done so; an error has it tried again. The context ends when
// the partition is revoked or DurableConfig.HandlerTimeout has passed.
//
// In order (the default), Nak and NakWithDelay ask for the message to be tried
// again in place, and Term drops it. Of one partition, Handle is called for one
// message at a time; of several, side by side.
type MessageHandler interface {
	Handle(ctx context.Context, msg jetstream.Msg) error
}

// MessageHandlerFunc is a function that is a [MessageHandler].
type MessageHandlerFunc func(ctx context.Context, msg jetstream.Msg) error

// Handle calls f.
func (f MessageHandlerFunc) Handle(ctx context.Context, msg jetstream.Msg) error { return f(ctx, msg) }

// Layout is how durable consumers are laid out over partitions.
type Layout int

const (
	// PerPartition gives every partition a durable of its own, on every kind of
	// stream.
	PerPartition Layout = iota
	// PerWorker gives every worker one durable that is made anew when its
	// partitions change. Only a work-queue stream can bear that; on others, where
	// it would skip messages, the first update refuses it with
	// [ErrLayoutUnsupported]. Fewer consumers are bought with pauses of all
	// partitions of a worker when one of them moves, and with one MaxAckPending
	// and one BatchSize for all: a partition that waits at a bad message can
	// hold back the others. It needs a server of 2.10 or later.
	PerWorker
)

// String returns the name of the layout.
func (l Layout) String() string {
	switch l {
	case PerPartition:
		return "PerPartition"
	case PerWorker:
		return "PerWorker"
	default:
		return fmt.Sprintf("Layout(%d)", int(l))
	}
}

// Defaults of [DurableConfig].
const (
	DefaultSubjectTemplate = "{{.PartitionID}}"
	DefaultBatchSize       = 50
	DefaultAckWait         = 10 * time.Second
	DefaultMaxAckPending   = 1000
	DefaultMaxDeliver      = 5
	DefaultConcurrency     = 64
	DefaultHandlerTimeout  = time.Minute
	DefaultHandoffTimeout  = 10 * time.Second
	DefaultRetireAfter     = time.Hour
)

// DurableConfig configures a [DurableHelper]. StreamName and ConsumerPrefix are
// required; zero values of the others are the defaults named.
type DurableConfig struct {
	// StreamName is the stream that holds the messages. It must exist at the
	// first update.
	StreamName string
	// ConsumerPrefix begins the names of the durables: prefix, '-', partition.
	ConsumerPrefix string
	// SubjectTemplate is a text/template that yields the subject of a partition:
	// {{.PartitionID}} is its keys joined with '.', {{index .Keys 0}} one of
	// them, both escaped as in parti.Partition.ID. It may end in wildcards, such
	// as "work.{{.PartitionID}}.>", as long as no two partitions overlap.
	SubjectTemplate string
	// BatchSize is how many messages of a partition are fetched ahead.
	BatchSize int
	// AckWait is after how long the server takes an owner for dead, and on
	// servers before 2.14 how long a partition rests after one. Handlers may run
	// longer: the message is kept alive meanwhile. At least 100 ms.
	AckWait time.Duration
	// MaxDeliver is how often a message is tried before it is poison. The default
	// is 5 with a DeadLetterSubject and no limit without one; -1 is no limit.
	MaxDeliver int
	// MaxAckPending limits what may be unacknowledged in one partition.
	MaxAckPending int
	// Layout is PerPartition, or PerWorker on a work queue.
	Layout Layout
	// Unordered has the messages of a partition handled side by side.
	Unordered bool
	// Concurrency limits the handlers that run at a time, over all partitions.
	// The default is no limit in order, where there is one for each partition,
	// and 64 with Unordered.
	Concurrency int
	// DeadLetterSubject receives poison messages; a stream other than StreamName
	// must capture it. Without it they are terminated.
	DeadLetterSubject string
	// Backoff is how long a message that failed once, twice, ... waits; the last
	// value repeats. The default grows from 100 ms to 5 s.
	Backoff []time.Duration
	// HandlerTimeout is when a handler is reported and its context ended;
	// negative never.
	HandlerTimeout time.Duration
	// HandoffTimeout is how long a handler of a partition that moves away may
	// still run. Set it to parti.Config.HandoffTimeout, whose default it shares:
	// then the leader forces the handoff.
	HandoffTimeout time.Duration
	// RetireAfter is how long the durable of a partition that has left the list is
	// kept once the stream has no message of it; negative for ever.
	RetireAfter time.Duration
	// OnError is told what went wrong with a partition and was survived. P has no
	// keys when no partition that this worker owns is meant. It is called from
	// several goroutines and must not block.
	OnError func(p parti.Partition, err error)
	// Logger gets the same, and more. The default is silence.
	Logger parti.Logger
	// Metrics counts. The default is [NopMetrics].
	Metrics Metrics
}

func defaultBackoff() []time.Duration {
	return []time.Duration{
		100 * time.Millisecond, 250 * time.Millisecond, 500 * time.Millisecond,
		time.Second, 2 * time.Second, 5 * time.Second,
	}
}

// withDefaults returns a copy with defaults filled in.
func (c DurableConfig) withDefaults() DurableConfig {
	def(&c.SubjectTemplate, DefaultSubjectTemplate)
	def(&c.BatchSize, DefaultBatchSize)
	def(&c.AckWait, DefaultAckWait)
	def(&c.MaxAckPending, DefaultMaxAckPending)
	def(&c.HandlerTimeout, DefaultHandlerTimeout)
	def(&c.HandoffTimeout, DefaultHandoffTimeout)
	def(&c.RetireAfter, DefaultRetireAfter)
	if c.MaxDeliver == 0 {
		c.MaxDeliver = -1
		if c.DeadLetterSubject != "" {
			c.MaxDeliver = DefaultMaxDeliver
		}
	}
	if c.Unordered {
		def(&c.Concurrency, DefaultConcurrency)
	}
	c.BatchSize = min(c.BatchSize, c.MaxAckPending)
	c.Backoff = slices.Clone(c.Backoff)
	if len(c.Backoff) == 0 {
		c.Backoff = defaultBackoff()
	}
	if c.OnError == nil {
		c.OnError = func(parti.Partition, error) {}
	}
	if c.Logger == nil {
		c.Logger = nopLogger{}
	}
	if c.Metrics == nil {
		c.Metrics = NopMetrics{}
	}
	return c
}

func def[T comparable](v *T, d T) {
	var zero T
	if *v == zero {
		*v = d
	}
}

// validate checks a configuration with defaults and reports all that is wrong.
func (c DurableConfig) validate() error {
	var errs []error
	check := func(ok bool, format string, args ...any) {
		if !ok {
			errs = append(errs, fmt.Errorf(format, args...))
		}
	}
	check(validName(c.StreamName), "StreamName %q: name the stream, without blanks, '.', '*', '>', '/' and '\\'", c.StreamName)
	check(validName(c.ConsumerPrefix) && len(c.ConsumerPrefix) <= maxPrefix,
		"ConsumerPrefix %q: at most %d characters, not empty, no blanks, '.', '*', '>', '/' and '\\'", c.ConsumerPrefix, maxPrefix)
	check(c.BatchSize > 0, "BatchSize %d: must not be negative", c.BatchSize)
	check(c.AckWait >= 100*time.Millisecond, "AckWait %v: at least 100ms", c.AckWait)
	check(c.MaxDeliver == -1 || c.MaxDeliver > 0, "MaxDeliver %d: a number of tries, or -1 for no limit", c.MaxDeliver)
	check(c.MaxAckPending > 0, "MaxAckPending %d: must not be negative", c.MaxAckPending)
	check(c.Concurrency >= 0, "Concurrency %d: must not be negative", c.Concurrency)
	check(c.HandoffTimeout > 0, "HandoffTimeout %v: must not be negative", c.HandoffTimeout)
	check(c.DeadLetterSubject == "" || validSubject(c.DeadLetterSubject) && !strings.ContainsAny(c.DeadLetterSubject, "*>"),
		"DeadLetterSubject %q: a subject without wildcards", c.DeadLetterSubject)
	for i, d := range c.Backoff {
		check(d > 0, "Backoff[%d] %v: must be positive", i, d)
	}
	check(c.Layout == PerPartition || c.Layout == PerWorker, "Layout %d: use PerPartition or PerWorker", c.Layout)
	check(c.Layout != PerWorker || !c.Unordered, "Unordered: not with PerWorker: use PerPartition")
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("%w: %w", ErrInvalidConfig, err)
	}
	return nil
}

// backoff returns how long to wait after the n-th failure, n from 1.
func (c *DurableConfig) backoff(n int) time.Duration {
	return c.Backoff[min(max(n, 1), len(c.Backoff))-1]
}

type nopLogger struct{}

func (nopLogger) Debug(string, ...any) {}
func (nopLogger) Info(string, ...any)  {}
func (nopLogger) Warn(string, ...any)  {}
func (nopLogger) Error(string, ...any) {}
