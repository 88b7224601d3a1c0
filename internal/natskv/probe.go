package natskv

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
)

// ErrNobody comes from [Store.Probe] when the server knows that nobody listens.
var ErrNobody = errors.New("nobody listens")

// AllConsumers stands for the name of every consumer.
const AllConsumers = "*"

// advisory begins the subjects on which the server tells that it has deleted a
// consumer; the stream and the name follow.
const advisory = "$JS.EVENT.ADVISORY.CONSUMER.DELETED."

// Answer answers every request to subject, by nothing, and calls answered after
// it has. It fails with [ErrPermission] when the user may not listen there.
func (s *Store) Answer(ctx context.Context, subject string, answered func()) (stop func(), err error) {
	stop, err = s.subscribe(ctx, subject, func(m *nats.Msg) {
		if m.Respond(nil) == nil {
			answered()
		}
	})
	if err != nil {
		return nil, fmt.Errorf("answer %s: %w", subject, err)
	}
	return stop, nil
}

// Probe asks a subject that somebody may [Store.Answer]. nil is an answer,
// [ErrNobody] says that nobody listens; other errors tell nothing.
func (s *Store) Probe(ctx context.Context, subject string) error {
	if !checkSubject(subject) {
		return fmt.Errorf("probe %q: %w: %w", subject, ErrRefused, nats.ErrBadSubject)
	}
	_, err := s.request(ctx, &nats.Msg{Subject: subject})
	switch {
	case err == nil:
		return nil
	case errors.Is(err, ErrUnserved):
		return fmt.Errorf("probe %s: %w", subject, ErrNobody)
	}
	return fmt.Errorf("probe %s: %w", subject, err)
}

// Notices calls fn with the name of every consumer of a bucket that the server
// deletes, or of one only. It fails with [ErrPermission] when the user may not
// listen to that. Notices are sent once, to who is connected then.
func (s *Store) Notices(ctx context.Context, bucket int, consumer string, fn func(consumer string)) (stop func(), err error) {
	subject := advisory + s.bucket(bucket).stream + "." + consumer
	stop, err = s.subscribe(ctx, subject, func(m *nats.Msg) {
		var said struct {
			Consumer string `json:"consumer"`
		}
		if json.Unmarshal(m.Data, &said) == nil && said.Consumer != "" {
			fn(said.Consumer)
		}
	})
	if err != nil {
		return nil, fmt.Errorf("listen to notices: %w", err)
	}
	return stop, nil
}

// subscribe returns once the server has taken the subscription or said no. The
// subscription outlives lost connections, and ctx.
func (s *Store) subscribe(ctx context.Context, subject string, fn func(*nats.Msg)) (stop func(), err error) {
	if !checkSubject(subject) {
		return nil, fmt.Errorf("%w: %q: %w", ErrRefused, subject, nats.ErrBadSubject)
	}
	sub, err := s.nc.Subscribe(subject, fn)
	if err != nil {
		return nil, sendError(err, nil)
	}
	stop = func() { _ = sub.Unsubscribe() } // fails only when it has gone with its connection
	ctx, cancel := context.WithTimeout(ctx, min(s.cfg.Timeout, time.Second))
	defer cancel()
	// Without an answer it is sent again after the reconnect.
	if s.nc.Status() == nats.CONNECTED && s.nc.FlushWithContext(ctx) == nil {
		if err := s.nc.LastError(); deniedSubscribe(err, subject) {
			stop()
			return nil, fmt.Errorf("%w: %w", ErrPermission, err)
		}
	}
	return stop, nil
}

// deniedSubscribe reports whether err is the server's word that this user may not
// listen to subject.
func deniedSubscribe(err error, subject string) bool {
	return errors.Is(err, nats.ErrPermissionViolation) &&
		strings.Contains(strings.ToLower(err.Error()), "subscription to "+strings.ToLower(strconv.Quote(subject)))
}

// checkSubject tells whether a subject is one, so that nothing that others wrote
// makes it another: a wildcard may only be the last token.
func checkSubject(subject string) bool {
	tokens := strings.Split(subject, ".")
	for i, token := range tokens {
		if token == AllConsumers && i == len(tokens)-1 {
			continue
		}
		if token == "" || strings.ContainsFunc(token, func(r rune) bool { return r <= ' ' || r == '*' || r == '>' || r >= 0x7f }) {
			return false
		}
	}
	return true
}
