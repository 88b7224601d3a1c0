package natskv

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// maxConsumers is what buckets are created with: every worker has consumers of
// its own, and servers from 2.15 on allow 1,000 unless told otherwise.
const maxConsumers = 10_000

// Open binds the buckets, creates those that are absent, and checks that each
// can serve. It sends one message per bucket and one per bucket it creates.
// Nothing is created unless every bucket that exists can serve; what one
// attempt has created, the next one finds.
func Open(ctx context.Context, js jetstream.JetStream, cfg Config) (*Store, error) {
	s := newStore(js, cfg)
	if err := s.Rebind(ctx); err != nil {
		s.Close()
		return nil, err
	}
	return s, nil
}

// Rebind does what Open does with the buckets once more: it creates those that
// were lost and learns their creation times. Watches are not touched.
func (s *Store) Rebind(ctx context.Context) error {
	var requests []apiCall
	for i := range s.cfg.Buckets {
		requests = append(requests, apiCall{bucket: i, verb: "STREAM.INFO."})
	}
	if err := s.ask(ctx, requests); err != nil {
		return fmt.Errorf("open buckets: %w", err)
	}
	var findings []error
	var absent []apiCall
	for _, c := range requests {
		switch err := s.outcome(c); {
		case errors.Is(err, ErrBucketGone):
			absent = append(absent, apiCall{bucket: c.bucket, verb: "STREAM.CREATE.", config: s.shape(c.bucket)})
		case err != nil:
			findings = append(findings, err)
		}
	}
	if len(findings) > 0 {
		return fmt.Errorf("open buckets: %w", errors.Join(findings...))
	}
	created, err := s.create(ctx, absent)
	if err != nil {
		return fmt.Errorf("open buckets: %w", err)
	}
	s.bind(append(requests, created...))
	return nil
}

// bind keeps what was learnt of the buckets.
func (s *Store) bind(calls []apiCall) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.warnings = nil
	for _, c := range calls {
		if c.answer.Config == nil {
			continue
		}
		b := &s.buckets[c.bucket]
		b.created = c.answer.Created.UTC().Format(time.RFC3339Nano)
		// Servers that do not know it have dropped it without a word.
		b.ttl = c.answer.Config.AllowMsgTTL
		s.warnings = append(s.warnings, s.doubts(b.name, c.answer.Config)...)
	}
}

// create makes the absent buckets. When another worker makes the same ones at
// the same moment, all succeed.
func (s *Store) create(ctx context.Context, absent []apiCall) ([]apiCall, error) {
	if len(absent) == 0 {
		return nil, nil
	}
	if err := s.ask(ctx, absent); err != nil {
		return nil, err
	}
	var again []apiCall
	var places []int
	for i, c := range absent {
		if c.answer.Error == nil {
			continue
		}
		switch c.answer.Error.ErrorCode {
		case codeNameInUse: // made meanwhile, and not quite like ours
			again = append(again, apiCall{bucket: c.bucket, verb: "STREAM.INFO."})
		case codeMaxConsumers: // the account allows fewer: take its limit
			cfg := *c.config
			cfg.MaxConsumers = -1
			again = append(again, apiCall{bucket: c.bucket, verb: "STREAM.CREATE.", config: &cfg})
		default:
			continue
		}
		places = append(places, i)
	}
	if len(again) > 0 {
		if err := s.ask(ctx, again); err != nil {
			return nil, err
		}
	}
	for i, place := range places {
		absent[place] = again[i]
	}
	var findings []error
	for _, c := range absent {
		if err := s.outcome(c); err != nil {
			findings = append(findings, err)
		}
	}
	return absent, errors.Join(findings...)
}

// shape is the configuration of a KV bucket with history 1.
func (s *Store) shape(i int) *streamConfig {
	storage := jetstream.FileStorage
	if s.cfg.Memory {
		storage = jetstream.MemoryStorage
	}
	b := s.bucket(i)
	return &streamConfig{
		Name:              b.stream,
		Subjects:          []string{b.subject(">")},
		MaxMsgsPerSubject: 1,
		MaxMsgs:           -1,
		MaxBytes:          -1,
		MaxMsgSize:        -1,
		MaxConsumers:      maxConsumers,
		Discard:           jetstream.DiscardNew,
		Duplicates:        2 * time.Minute,
		Storage:           storage,
		Replicas:          s.cfg.Replicas,
		AllowRollup:       true,
		DenyDelete:        true,
		AllowDirect:       true,
		AllowMsgTTL:       true,
	}
}

// apiCall is a request about one bucket and its answer.
type apiCall struct {
	bucket int
	verb   string
	config *streamConfig
	answer *apiAnswer // nil until it has come
}

func (c apiCall) unanswered() bool { return c.answer == nil }

// outcome judges an answer: [ErrBucketGone] if the bucket is absent, nil if it
// can serve.
func (s *Store) outcome(c apiCall) error {
	name := s.cfg.Buckets[c.bucket]
	if e := c.answer.Error; e != nil {
		switch e.ErrorCode {
		case codeStreamNotFound:
			return ErrBucketGone
		case codeNoJetStreamAccount:
			return fmt.Errorf("%w: %s: enable JetStream for this account", ErrNoJetStream, e.Description)
		case codeNoJetStream, codeNotAvailable:
			return fmt.Errorf("%w: %s", ErrNoJetStream, e.Description)
		}
		return fmt.Errorf("%w: %s: the server refuses %s%s: %s (code %d)",
			ErrBucket, name, c.verb, "KV_"+name, e.Description, e.ErrorCode)
	}
	if c.answer.Config == nil {
		return fmt.Errorf("%w: %s: the server's answer to %s cannot be read", ErrNoJetStream, name, c.verb)
	}
	return s.check(name, c.answer.Config)
}

// askAgain is after how long a request without an answer is sent again. A cluster
// loses what it is asked about a stream whose leader is not elected yet, be it
// because another worker is creating it at this moment, and never answers.
const askAgain = time.Second

// ask sends the requests together and fills in their answers. A right that is
// missing is not answered but told apart, so a round trip behind the requests
// shows it at once, where waiting for answers would take until the deadline.
func (s *Store) ask(ctx context.Context, calls []apiCall) error {
	ctx, cancel, err := s.lifetime(ctx)
	if err != nil {
		return openError(err)
	}
	defer cancel()
	inbox := s.nc.NewInbox()
	// SubscribeSync would make room for 65,536 answers, half a megabyte.
	answers := make(chan *nats.Msg, 2*len(calls))
	sub, err := s.nc.ChanSubscribe(inbox+".*", answers)
	if err != nil {
		return openError(err)
	}
	defer func() { _ = sub.Unsubscribe() }()
	for slices.ContainsFunc(calls, apiCall.unanswered) {
		if err := s.send(ctx, calls, inbox); err != nil {
			return err
		}
		if err := s.answers(ctx, calls, answers); err != nil {
			return err
		}
	}
	return nil
}

// send sends those requests that have no answer yet.
func (s *Store) send(ctx context.Context, calls []apiCall, inbox string) error {
	before := s.nc.LastError()
	for i, c := range calls {
		if !c.unanswered() {
			continue
		}
		var body []byte
		if c.config != nil {
			var err error
			if body, err = json.Marshal(c.config); err != nil {
				return fmt.Errorf("%w: %w", ErrBucket, err)
			}
		}
		if err := s.nc.PublishRequest(s.subject(c), inbox+"."+strconv.Itoa(i), body); err != nil {
			return openError(err)
		}
	}
	if err := s.nc.FlushWithContext(ctx); err != nil {
		return openError(causeOf(ctx, err))
	}
	if denied := s.nc.LastError(); errors.Is(denied, nats.ErrPermissionViolation) && !errors.Is(denied, before) {
		return s.explainDenial(denied, inbox, calls)
	}
	return nil
}

// answers takes in the answers that come until it is time to ask again.
func (s *Store) answers(ctx context.Context, calls []apiCall, answers <-chan *nats.Msg) error {
	round, cancel := context.WithTimeout(ctx, askAgain)
	defer cancel()
	for slices.ContainsFunc(calls, apiCall.unanswered) {
		var m *nats.Msg
		select {
		case m = <-answers:
		case <-round.Done():
			if ctx.Err() == nil {
				return nil
			}
			return fmt.Errorf("%w%s", openError(causeOf(ctx, ctx.Err())), s.unanswered(calls))
		}
		if len(m.Data) == 0 && m.Header.Get("Status") == "503" {
			return fmt.Errorf("%w: nothing answers on %s*: run nats-server with -js, or wait until the cluster has elected a leader",
				ErrNoJetStream, s.api)
		}
		i, err := strconv.Atoi(m.Subject[strings.LastIndexByte(m.Subject, '.')+1:])
		if err != nil || i < 0 || i >= len(calls) || !calls[i].unanswered() {
			continue
		}
		var a apiAnswer
		if err := json.Unmarshal(m.Data, &a); err != nil {
			return fmt.Errorf("%w: %s: answer cannot be read: %w", ErrNoJetStream, s.subject(calls[i]), err)
		}
		calls[i].answer = &a
	}
	return nil
}

// subject is where a request goes.
func (s *Store) subject(c apiCall) string { return s.api + c.verb + "KV_" + s.cfg.Buckets[c.bucket] }

// causeOf prefers the reason for which ctx ended.
func causeOf(ctx context.Context, err error) error {
	if cause := context.Cause(ctx); cause != nil {
		return cause
	}
	return err
}

// openError gives the failure of a request of Open its kind.
func openError(err error) error {
	switch {
	case errors.Is(err, ErrRefused):
		return err
	case errors.Is(err, ErrDown), errors.Is(err, errConnLost), errors.Is(err, nats.ErrConnectionClosed),
		errors.Is(err, nats.ErrConnectionDraining), errors.Is(err, nats.ErrReconnectBufExceeded):
		return fmt.Errorf("%w: %w", ErrNoConnection, err)
	default:
		return fmt.Errorf("%w: no answer: %w", ErrNoJetStream, err)
	}
}

// explainDenial names the bucket and the right that a permission violation is
// about, or returns nil if it is about something else.
func (s *Store) explainDenial(denied error, inbox string, calls []apiCall) error {
	for _, c := range calls {
		if !deniedPublish(denied, s.subject(c)) {
			continue
		}
		remedy := "allow it"
		if c.config != nil {
			remedy = "allow it, or create the bucket beforehand"
		}
		return fmt.Errorf("%w: bucket %s: the user may not publish to %q: %s: %w",
			ErrPermission, s.cfg.Buckets[c.bucket], s.subject(c), remedy, denied)
	}
	if strings.Contains(denied.Error(), inbox) {
		return fmt.Errorf("%w: the user may not subscribe to its inbox, on which answers come: allow it or set nats.CustomInboxPrefix: %w",
			ErrPermission, denied)
	}
	return nil
}

// unanswered lists, for the error text, the requests without an answer.
func (s *Store) unanswered(calls []apiCall) string {
	var silent []string
	for _, c := range calls {
		if c.unanswered() {
			silent = append(silent, s.subject(c))
		}
	}
	return " (unanswered: " + strings.Join(silent, ", ") + "; a user without the right to publish there gets no answer)"
}
