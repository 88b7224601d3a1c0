package natskv

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// Buckets is the number of buckets of a [Store].
const Buckets = 4

// Config says which buckets to open, and how to create those that are absent.
type Config struct {
	// Buckets are the names: ids, election, heartbeats, assignments.
	Buckets [Buckets]string
	// Replicas and Memory are what buckets are created with. A bucket that
	// exists must have as many replicas, and keep its data in files unless
	// Memory is set. Zero replicas is one.
	Replicas int
	Memory   bool
	// Timeout bounds operations whose context has no deadline. Zero is the
	// timeout of the JetStream context.
	Timeout time.Duration
	// Heartbeat is how often the server says that a watch lives when there is
	// nothing to deliver. A watch that hears nothing for twice as long is lost.
	// Zero is 5 s.
	Heartbeat time.Duration
}

// bucket is what a store knows of one of its buckets.
type bucket struct {
	name    string
	stream  string
	created string
	ttl     bool // messages may carry a TTL of their own
}

// Store is a set of open buckets on one connection. Its methods may be called
// from any goroutine.
type Store struct {
	nc  *nats.Conn
	cfg Config
	api string // prefix of API subjects
	put string // prefix of the subjects to publish to

	base time.Time // the clock of watches: monotonic time since

	mu       sync.Mutex
	buckets  [Buckets]bucket
	warnings []string
	watches  map[*Watch]struct{}
	closed   bool
	// up ends with the connection, and a new one takes its place at once.
	up     context.Context //nolint:containedctx // it is state: the life of the connection
	broken context.CancelCauseFunc

	kick chan struct{} // a watch was added
	quit chan struct{}
	done chan struct{}
}

var (
	errConnLost = errors.New("connection lost while waiting")
	errClosing  = errors.New("store closed while waiting")
)

// newStore returns a store without buckets whose monitor runs.
func newStore(js jetstream.JetStream, cfg Config) *Store {
	opts := js.Options()
	api := jetstream.DefaultAPIPrefix
	switch {
	case opts.Domain != "":
		api = "$JS." + opts.Domain + ".API."
	case opts.APIPrefix != "":
		api = strings.TrimSuffix(opts.APIPrefix, ".") + "."
	}
	if cfg.Replicas == 0 {
		cfg.Replicas = 1
	}
	if cfg.Timeout <= 0 {
		cfg.Timeout = opts.DefaultTimeout
	}
	if cfg.Timeout <= 0 {
		cfg.Timeout = 5 * time.Second
	}
	if cfg.Heartbeat <= 0 {
		cfg.Heartbeat = 5 * time.Second
	}
	s := &Store{
		nc:      js.Conn(),
		cfg:     cfg,
		api:     api,
		base:    time.Now(),
		watches: make(map[*Watch]struct{}),
		kick:    make(chan struct{}, 1),
		quit:    make(chan struct{}),
		done:    make(chan struct{}),
	}
	// Across domains and accounts, keys are written through the same prefix.
	if api != jetstream.DefaultAPIPrefix {
		s.put = api
	}
	for i, name := range cfg.Buckets {
		s.buckets[i] = bucket{name: name, stream: "KV_" + name}
	}
	s.up, s.broken = context.WithCancelCause(context.Background())
	// Registered here and not in the goroutine: no change may pass unseen.
	go s.monitor(s.nc.StatusChanged())
	return s
}

// Created returns the time at which a bucket was created, as text. It changes
// when the bucket is deleted and created again; the store learns that by
// [Store.Rebind].
func (s *Store) Created(bucket int) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.buckets[bucket].created
}

// Warnings returns what Open or Rebind found that serves, but not well.
func (s *Store) Warnings() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]string(nil), s.warnings...)
}

// Close ends all watches, without a Lost event, and fails what is under way. It
// returns when nothing of the store runs any more. The connection stays open.
func (s *Store) Close() {
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		<-s.done
		return
	}
	s.closed = true
	s.broken(errClosing)
	watches := s.watchList()
	s.mu.Unlock()
	close(s.quit)
	for _, w := range watches {
		w.Stop()
	}
	<-s.done
}

// watchList requires s.mu.
func (s *Store) watchList() []*Watch {
	list := make([]*Watch, 0, len(s.watches))
	for w := range s.watches {
		list = append(list, w)
	}
	return list
}

// bucket returns what is known of bucket i.
func (s *Store) bucket(i int) bucket {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.buckets[i]
}

// lifetime derives a context that ends with ctx, at the store's own timeout if
// ctx has no deadline, and with the connection. The cause tells which.
func (s *Store) lifetime(ctx context.Context) (context.Context, context.CancelFunc, error) {
	if err := ctx.Err(); err != nil {
		return nil, nil, fmt.Errorf("%w: not sent: %w", ErrRefused, err)
	}
	s.mu.Lock()
	up, closed := s.up, s.closed
	s.mu.Unlock()
	if closed {
		return nil, nil, fmt.Errorf("%w: %w", ErrRefused, ErrClosed)
	}
	// Asked after up was taken: a loss in between ends up.
	if s.nc.Status() != nats.CONNECTED {
		return nil, nil, ErrDown
	}
	stopTimer := context.CancelFunc(func() {})
	if _, ok := ctx.Deadline(); !ok {
		ctx, stopTimer = context.WithTimeout(ctx, s.cfg.Timeout)
	}
	ctx, cancel := context.WithCancelCause(ctx)
	unhook := context.AfterFunc(up, func() { cancel(context.Cause(up)) })
	return ctx, func() { unhook(); cancel(nil); stopTimer() }, nil
}

// request sends one message and returns its answer.
func (s *Store) request(ctx context.Context, msg *nats.Msg) (*nats.Msg, error) {
	ctx, cancel, err := s.lifetime(ctx)
	if err != nil {
		return nil, err
	}
	defer cancel()
	answer, err := s.nc.RequestMsgWithContext(ctx, msg)
	if err == nil {
		return answer, nil
	}
	err = sendError(err, context.Cause(ctx))
	if errors.Is(err, ErrAmbiguous) {
		if denied := s.nc.LastError(); deniedPublish(denied, msg.Subject) {
			// It may be the word on an earlier request, so the kind stays.
			err = fmt.Errorf("%w (the user may lack the right to publish to %q: %w)", err, msg.Subject, denied)
		}
	}
	return nil, err
}

// monitor watches over the connection and the silence of watches until quit.
func (s *Store) monitor(status chan nats.Status) {
	defer close(s.done)
	defer func() { s.nc.RemoveStatusListener(status) }()
	events := status
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	for {
		if next, ok := s.loseSilent(); ok {
			timer.Reset(next)
		} else {
			timer.Stop()
		}
		select {
		case <-s.quit:
			return
		case <-s.kick:
		case <-timer.C:
		case st, ok := <-events:
			if !ok {
				events, st = nil, nats.CLOSED
			}
			s.connChanged(st)
		}
	}
}

// connChanged ends what a change of the connection has made void: requests
// that wait for an answer, and watches made before.
func (s *Store) connChanged(st nats.Status) {
	reconnects := s.nc.Stats().Reconnects
	s.mu.Lock()
	if st != nats.CONNECTED && !s.closed {
		s.broken(errConnLost)
		s.up, s.broken = context.WithCancelCause(context.Background())
	}
	watches := s.watchList()
	s.mu.Unlock()
	for _, w := range watches {
		if st == nats.CLOSED || st == nats.CONNECTED && w.reconnects != reconnects {
			w.lose()
		}
	}
}

// loseSilent ends the watches that heard nothing for too long and returns when
// to look again, if there are any.
func (s *Store) loseSilent() (time.Duration, bool) {
	limit := 2 * s.cfg.Heartbeat
	s.mu.Lock()
	watches := s.watchList()
	s.mu.Unlock()
	now := time.Since(s.base)
	next, found := limit, false
	for _, w := range watches {
		left := limit - (now - time.Duration(w.heard.Load()))
		if left <= 0 {
			w.lose()
			continue
		}
		next, found = min(next, left), true
	}
	return next, found
}
