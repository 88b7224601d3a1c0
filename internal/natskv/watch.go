package natskv

import (
	"context"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// inactiveThreshold is how soon the server deletes a consumer that nobody
// listens to any more. Unsubscribing is therefore all that Stop has to do, and
// the advisory about it tells others soon that a worker is gone.
const inactiveThreshold = 250 * time.Millisecond

// Event is a change seen by a [Watch]. An Event with an empty key is only about
// Synced or Lost.
type Event struct {
	Entry
	// Synced: nothing is waiting behind this event.
	Synced bool
	// Lost: the watch has ended; this is its last event.
	Lost bool
}

// Watch is a running watch.
type Watch struct {
	s      *Store
	bucket bucket
	filter string
	prefix string // of the subjects, before the key
	fn     func(Event)

	sub        *nats.Subscription
	reconnects uint64 // of the connection, when the watch began
	heard      atomic.Int64

	// mu is held while fn runs, so that events come one at a time and none
	// after the end. fn is quick by contract.
	mu    sync.Mutex
	ended bool
	cseq  uint64 // last sequence of the consumer
	sseq  uint64 // last sequence of the stream
	idle  bool   // the last event was Synced, or would have been
	// Until the first Synced:
	synced bool
	seen   map[string]struct{} // keys delivered
	want   map[string]struct{} // keys still to be delivered; nil before they are known
	upTo   uint64              // last sequence of the stream when want was listed
}

// Watch calls fn for every change of the keys that match filter, the present
// values first: an exact key, ">" for all, or tokens followed by ".>". name
// names the consumer and must be unique.
//
// fn is called on goroutines of its own, one call at a time, maybe before Watch
// has returned. It must be quick and must not call into the watch or the store.
// ctx bounds only the making of the watch. If Watch returns an error, fn is not
// called any more.
func (s *Store) Watch(ctx context.Context, bucket int, filter, name string, fn func(Event)) (*Watch, error) {
	w, err := s.watch(ctx, bucket, filter, name, fn)
	if err != nil {
		return nil, fmt.Errorf("watch %s: %w", filter, err)
	}
	return w, nil
}

func (s *Store) watch(ctx context.Context, bucket int, filter, name string, fn func(Event)) (*Watch, error) {
	wild := filter == ">" || strings.HasSuffix(filter, ".>")
	if err := CheckFilter(filter); err != nil {
		return nil, err
	}
	ctx, cancel, err := s.lifetime(ctx)
	if err != nil {
		return nil, err
	}
	defer cancel()

	b := s.bucket(bucket)
	w := &Watch{
		s: s, bucket: b, filter: filter, prefix: b.subject(""), fn: fn,
		reconnects: s.nc.Stats().Reconnects,
		// The value of a single key is complete by itself.
		synced: !wild,
		seen:   make(map[string]struct{}),
	}
	w.heard.Store(int64(time.Since(s.base)))
	inbox := s.nc.NewInbox()
	if w.sub, err = s.nc.Subscribe(inbox, w.receive); err != nil {
		return nil, sendError(err, nil)
	}
	if err := s.register(w); err != nil {
		w.Stop()
		return nil, err
	}
	pending, err := w.consume(ctx, name, inbox)
	if err == nil && (wild || pending == 0) {
		err = w.list(ctx)
	}
	if err != nil {
		w.Stop()
		return nil, err
	}
	return w, nil
}

// register puts the watch under the eyes of the monitor.
func (s *Store) register(w *Watch) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return fmt.Errorf("%w: %w", ErrRefused, ErrClosed)
	}
	s.watches[w] = struct{}{}
	if len(s.watches) == 1 {
		select {
		case s.kick <- struct{}{}:
		default:
		}
	}
	return nil
}

// consume creates the consumer by one request. It delivers as fast as it can:
// flow control would cost messages, and what a watch is for is small.
func (w *Watch) consume(ctx context.Context, name, inbox string) (pending uint64, err error) {
	body, err := json.Marshal(consumerRequest{
		Stream: w.bucket.stream,
		Action: "create",
		Config: consumerConfig{
			Name:              name,
			DeliverSubject:    inbox,
			FilterSubject:     w.bucket.subject(w.filter),
			DeliverPolicy:     jetstream.DeliverLastPerSubjectPolicy,
			AckPolicy:         jetstream.AckNonePolicy,
			ReplayPolicy:      jetstream.ReplayInstantPolicy,
			MaxDeliver:        1,
			IdleHeartbeat:     w.s.cfg.Heartbeat,
			InactiveThreshold: inactiveThreshold,
			MemoryStorage:     true,
			Replicas:          1,
		},
	})
	if err != nil {
		return 0, fmt.Errorf("%w: %w", ErrRefused, err)
	}
	subject := w.s.api + "CONSUMER.CREATE." + w.bucket.stream + "." + name + "." + w.bucket.subject(w.filter)
	answer, err := w.s.request(ctx, &nats.Msg{Subject: subject, Data: body})
	if err != nil {
		return 0, err
	}
	var got struct {
		Error      *jetstream.APIError `json:"error"`
		NumPending uint64              `json:"num_pending"`
		Delivered  struct {
			Consumer uint64 `json:"consumer_seq"`
		} `json:"delivered"`
	}
	if err := json.Unmarshal(answer.Data, &got); err != nil {
		return 0, fmt.Errorf("%w that can be read: %w", ErrAmbiguous, err)
	}
	if got.Error != nil {
		if got.Error.ErrorCode == codeMaxConsumers {
			return 0, fmt.Errorf("%w: bucket %s has reached its limit of consumers: nats stream edit %s --max-consumers %d",
				ErrRefused, w.bucket.name, w.bucket.stream, maxConsumers)
		}
		return 0, apiError(got.Error)
	}
	// What was delivered before the answer was written is no longer pending.
	return got.NumPending + got.Delivered.Consumer, nil
}

// list learns from the leader of the stream which keys there are, to know when
// all of them have been delivered. What NATS says about waiting messages does
// not tell: while others write, it reaches zero with keys still to come.
func (w *Watch) list(ctx context.Context) error {
	body, err := json.Marshal(map[string]string{"subjects_filter": w.bucket.subject(w.filter)})
	if err != nil {
		return fmt.Errorf("%w: %w", ErrRefused, err)
	}
	answer, err := w.s.request(ctx, &nats.Msg{Subject: w.s.api + "STREAM.INFO." + w.bucket.stream, Data: body})
	if err != nil {
		return err
	}
	var got apiAnswer
	if err := json.Unmarshal(answer.Data, &got); err != nil {
		return fmt.Errorf("%w that can be read: %w", ErrAmbiguous, err)
	}
	switch {
	case got.Error != nil:
		return apiError(got.Error)
	case got.Config == nil:
		return fmt.Errorf("%w that can be read: no stream in it", ErrAmbiguous)
	}
	want := make(map[string]struct{}, len(got.State.Subjects))
	for subject := range got.State.Subjects {
		want[strings.TrimPrefix(subject, w.prefix)] = struct{}{}
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.ended {
		return nil // lost meanwhile, and said so
	}
	for key := range w.seen {
		delete(want, key)
	}
	w.want, w.upTo, w.seen = want, got.State.LastSeq, nil
	if w.synced { // a single key, absent when the watch began
		w.synced = w.cseq > 0
	}
	if !w.synced && w.caughtUp(w.idle || w.cseq == 0) {
		w.fn(Event{Synced: true})
	}
	return nil
}

// caughtUp reports whether everything that was there has been delivered, and
// notes it. quiet says that the server believes that nothing waits. Requires mu.
func (w *Watch) caughtUp(quiet bool) bool {
	if w.want == nil || len(w.want) > 0 || !quiet && w.sseq < w.upTo {
		return false
	}
	w.synced, w.idle = true, true
	return true
}

// receive takes a message of the consumer.
func (w *Watch) receive(m *nats.Msg) {
	w.heard.Store(int64(time.Since(w.s.base)))
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.ended {
		return
	}
	if status := m.Header.Get("Status"); status != "" {
		w.control(m, status)
		return
	}
	md, err := m.Metadata()
	if err != nil {
		return // not from the consumer
	}
	if md.Sequence.Consumer != w.cseq+1 {
		w.endLocked(true)
		return
	}
	w.cseq = md.Sequence.Consumer
	if md.Sequence.Stream <= w.sseq {
		w.repeated(md.NumPending == 0)
		return
	}
	w.sseq = md.Sequence.Stream
	w.idle = md.NumPending == 0
	e := Event{Entry: Entry{
		Key:     strings.TrimPrefix(m.Subject, w.prefix),
		Val:     m.Data,
		Rev:     md.Sequence.Stream,
		Deleted: isMarker(m.Header),
	}}
	switch {
	case w.synced:
		e.Synced = w.idle
	case w.want == nil:
		w.seen[e.Key] = struct{}{}
	default:
		delete(w.want, e.Key)
		e.Synced = w.caughtUp(w.idle)
	}
	w.fn(e)
}

// repeated takes a message that came before. Servers up to 2.9 begin with a
// list of what to send, and for what was overwritten meanwhile they send the
// next message there is, so that it comes several times. Requires mu.
func (w *Watch) repeated(quiet bool) {
	if !quiet || w.idle {
		return
	}
	w.idle = true
	if w.synced || w.caughtUp(true) {
		w.fn(Event{Synced: true})
	}
}

// control takes a message that is about the consumer. Requires mu.
func (w *Watch) control(m *nats.Msg, status string) {
	if status != "100" { // it is being deleted, or has no home any more
		w.endLocked(true)
		return
	}
	last, err := strconv.ParseUint(m.Header.Get("Nats-Last-Consumer"), 10, 64)
	if err != nil {
		return // not a heartbeat
	}
	// Behind what was delivered, the stream has lost data.
	stream, err := strconv.ParseUint(m.Header.Get("Nats-Last-Stream"), 10, 64)
	if last != w.cseq || err == nil && stream < w.sseq {
		w.endLocked(true)
		return
	}
	// Silence for a whole heartbeat: nothing waits, whatever was said before,
	// and a key that has not come is not there any more.
	if w.synced && !w.idle || !w.synced && w.want != nil {
		w.synced, w.idle = true, true
		w.fn(Event{Synced: true})
	}
}

// Stop ends the watch. When it returns, fn is not running and will not be called
// again. It must not be called by fn.
func (w *Watch) Stop() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.endLocked(false)
}

// lose ends the watch with a Lost event.
func (w *Watch) lose() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.endLocked(true)
}

// endLocked requires mu.
func (w *Watch) endLocked(lost bool) {
	if w.ended {
		return
	}
	w.ended = true
	_ = w.sub.Unsubscribe() // fails only when it has gone with its connection
	w.s.mu.Lock()
	delete(w.s.watches, w)
	w.s.mu.Unlock()
	if lost {
		w.fn(Event{Lost: true})
	}
}
