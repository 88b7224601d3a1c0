package source

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/arloliu/parti"
)

// NATSKV is a list of partitions that lives in one key of a NATS bucket. It
// announces its changes, so that the fleet follows a [PutNATSKV] at once. Its
// methods may be called from several goroutines, and by several managers.
//
// The value is JSON, as [PutNATSKV] writes it:
//
//	{"format": 1, "partitions": [{"keys": ["orders", "0"], "weight": 150}, {"keys": ["orders", "1"]}]}
//
// It is read strictly: unknown fields, anything after the object, a missing
// list, keys that are missing or empty, and partitions listed twice are refused
// with [ErrMalformed]. An empty list is written as such, and is not the same as
// an absent key, which is an error. A list has to fit into one message: 1 MiB, or
// some 20,000 partitions, unless the server's max_payload says otherwise.
type NATSKV struct {
	kv  jetstream.KeyValue
	key string

	mu   sync.Mutex
	last revision // the last one that a watch delivered
}

var (
	_ parti.PartitionSource  = (*NATSKV)(nil)
	_ parti.PartitionWatcher = (*NATSKV)(nil)
)

// revision is a value of the key; the zero revision stands for its absence.
type revision struct {
	number  uint64
	created time.Time
	value   []byte
}

func (r revision) same(o revision) bool { return r.number == o.number && r.created.Equal(o.created) }

// before tells whether r is an older revision than o of the same bucket: in a
// bucket that was made anew numbers go back and times do not.
func (r revision) before(o revision) bool {
	return r.number < o.number && r.created.Before(o.created)
}

// NewNATSKV returns a source of the list in one key of a bucket. It reads
// nothing yet. The bucket may be of any kind and need not be one of parti's own.
func NewNATSKV(kv jetstream.KeyValue, key string) *NATSKV {
	return &NATSKV{kv: kv, key: key}
}

// ListPartitions reads the list. Errors name the bucket, the key and what mends
// it. They match [ErrMalformed], [jetstream.ErrKeyNotFound] when there is no
// list, and what NATS said.
//
// Any replica of the bucket may answer, also one that lags behind by some
// milliseconds; what the own watch has delivered is never undercut.
func (s *NATSKV) ListPartitions(ctx context.Context) ([]parti.Partition, error) {
	r, err := s.read(ctx)
	if err == nil && r.number == 0 {
		err = fmt.Errorf("%w: publish a list with source.PutNATSKV", jetstream.ErrKeyNotFound)
	}
	var list []parti.Partition
	if err == nil {
		s.mu.Lock()
		if r.before(s.last) {
			r = s.last
		}
		s.mu.Unlock()
		list, err = decode(r.value)
	}
	if err != nil {
		return nil, s.named(err)
	}
	return list, nil
}

// read reads the key.
func (s *NATSKV) read(ctx context.Context) (revision, error) {
	e, err := s.kv.Get(ctx, s.key)
	switch {
	case err == nil:
		return revision{e.Revision(), e.Created(), e.Value()}, nil
	case errors.Is(err, jetstream.ErrKeyNotFound):
		return revision{}, nil
	case errors.Is(err, nats.ErrNoResponders), errors.Is(err, jetstream.ErrNoStreamResponse),
		errors.Is(err, jetstream.ErrStreamNotFound):
		err = fmt.Errorf("%w: the bucket is gone, or JetStream is away: make the bucket and publish the list again", err)
	}
	return revision{}, err
}

func (s *NATSKV) named(err error) error {
	return fmt.Errorf("bucket %s, key %s: %w", s.kv.Bucket(), s.key, err)
}

const (
	// lookEvery is how often a watch is compared with the bucket. A watch of
	// nats.go may fall silent for good: when the bucket was deleted and made
	// anew, it skips as many revisions as the old one had.
	lookEvery = 10 * time.Second
	// openTimeout bounds the making of a watch and one look.
	openTimeout = 5 * time.Second
)

// WatchPartitions announces every change of the key until ctx ends; see
// [parti.PartitionWatcher]. A change that the watch misses, because the bucket
// was deleted and made anew or the server restarted, is found within ten
// seconds.
func (s *NATSKV) WatchPartitions(ctx context.Context, changed func()) error {
	defer s.saw(revision{})
	for {
		if err := s.watch(ctx, changed); err != nil {
			return s.named(err)
		}
	}
}

// watch announces what one watch delivers. It returns nil when the watch is not
// to be trusted any more.
func (s *NATSKV) watch(ctx context.Context, changed func()) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	w, err := s.open(ctx, cancel)
	if err != nil {
		return err
	}
	defer func() { _ = w.Stop() }() // fails when the connection is closed
	tick := time.NewTicker(lookEvery)
	defer tick.Stop()
	var last revision
	failing, news := false, true
	for {
		select {
		case e, ok := <-w.Updates():
			switch {
			case ctx.Err() != nil:
				return ctx.Err()
			case !ok:
				return errors.New("the watch was closed")
			case e == nil: // the end of what was there when the watch began
			case e.Operation() == jetstream.KeyValuePut:
				last, news = revision{e.Revision(), e.Created(), e.Value()}, true
			default:
				last, news = revision{}, true
			}
			if news {
				s.saw(last)
				changed()
				news = false
			}
		case <-tick.C:
			now, err := s.look(ctx)
			if err == nil && !now.same(last) {
				return nil
			}
			if err != nil && !failing {
				changed() // whoever reads the list finds out what is wrong
			}
			failing = err != nil
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// open makes a watch that lives until ctx ends. cancel ends ctx.
func (s *NATSKV) open(ctx context.Context, cancel func()) (jetstream.KeyWatcher, error) {
	// A deadline of ctx would end the watch too.
	late := time.AfterFunc(openTimeout, cancel)
	w, err := s.kv.Watch(ctx, s.key)
	if !late.Stop() && err == nil {
		_ = w.Stop()
		err = context.DeadlineExceeded
	}
	if err != nil {
		return nil, fmt.Errorf("watch: %w", err)
	}
	return w, nil
}

func (s *NATSKV) look(ctx context.Context) (revision, error) {
	ctx, cancel := context.WithTimeout(ctx, openTimeout)
	defer cancel()
	return s.read(ctx)
}

// saw notes what a watch has delivered.
func (s *NATSKV) saw(r revision) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.last = r
}

// PutNATSKV publishes a list of partitions for [NewNATSKV] and returns its
// revision. What a manager would refuse is refused here, with [ErrMalformed],
// and nothing is written.
func PutNATSKV(ctx context.Context, kv jetstream.KeyValue, key string, partitions []parti.Partition) (uint64, error) {
	value, err := encode(partitions)
	if err == nil {
		var rev uint64
		if rev, err = kv.Put(ctx, key, value); err == nil {
			return rev, nil
		}
	}
	if errors.Is(err, nats.ErrMaxPayload) {
		err = fmt.Errorf("%w: the list takes %d bytes: raise the server's max_payload or shorten the keys", err, len(value))
	}
	return 0, fmt.Errorf("put the partitions: bucket %s, key %s: %w", kv.Bucket(), key, err)
}
