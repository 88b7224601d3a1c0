package subscription

import (
	"context"
	"fmt"
	"strconv"
	"strings"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// Headers of a dead letter, beside those of the message itself. What begins with
// "Nats-" is left out, since it speaks to the server.
const (
	HeaderPartition = "Parti-Partition" // its id
	HeaderStream    = "Parti-Stream"
	HeaderSubject   = "Parti-Subject"
	HeaderSequence  = "Parti-Sequence" // in the stream
	HeaderFailures  = "Parti-Failures"
	HeaderError     = "Parti-Error" // the last one; absent when its owners died
)

// bury deals with a message that failed too often: published to the dead letter
// subject and acknowledged, or terminated. False when the partition was stopped
// before that was possible.
func (p *partition) bury(msg jetstream.Msg, failures int, cause error) bool {
	poison := fmt.Errorf("%w: %s, %d times", ErrPoison, describe(msg), failures)
	if cause != nil {
		poison = fmt.Errorf("%w: %w", poison, cause)
	}
	if p.cfg.DeadLetterSubject == "" {
		return p.terminate(msg, poison)
	}
	letter := p.letter(msg, failures, cause)
	for n := 1; ; n++ {
		ctx, cancel := context.WithTimeout(p.work, answerTimeout)
		_, err := p.js.PublishMsg(ctx, letter)
		cancel()
		if err == nil {
			break
		}
		p.failed(fmt.Errorf("%w to %s: %s: %w", ErrDeadLetter, letter.Subject, describe(msg), err))
		if !p.pause(p.cfg.backoff(n)) {
			return false
		}
	}
	p.cfg.Metrics.IncrementDeadLettered()
	p.failed(poison)
	return p.ack(msg)
}

// terminate drops a message.
func (p *partition) terminate(msg jetstream.Msg, poison error) bool {
	for n := 1; ; n++ {
		if p.isRevoked() {
			return false
		}
		err := msg.Term()
		if err == nil {
			p.acknowledged(msg)
			p.cfg.Metrics.IncrementTerminated()
			p.failed(poison)
			return true
		}
		p.failed(fmt.Errorf("terminate %s: %w", describe(msg), err))
		if !p.pause(p.cfg.backoff(n)) {
			return false
		}
	}
}

// letter returns the dead letter of a message. Its id lets the server drop a
// second one, should the acknowledgement of the message be lost.
func (p *partition) letter(msg jetstream.Msg, failures int, cause error) *nats.Msg {
	letter := nats.NewMsg(p.cfg.DeadLetterSubject)
	letter.Data = msg.Data()
	for k, v := range msg.Headers() {
		if !strings.HasPrefix(k, "Nats-") {
			letter.Header[k] = v
		}
	}
	set := func(key, value string) { letter.Header.Set(key, value) }
	set(HeaderPartition, p.id)
	set(HeaderStream, p.cfg.StreamName)
	set(HeaderSubject, msg.Subject())
	set(HeaderFailures, strconv.Itoa(failures))
	if cause != nil {
		set(HeaderError, strings.Map(printable, cause.Error()))
	}
	if meta, err := msg.Metadata(); err == nil {
		set(HeaderSequence, strconv.FormatUint(meta.Sequence.Stream, 10))
		set(jetstream.MsgIDHeader, fmt.Sprintf("parti-%s-%s-%d-%d", p.cfg.StreamName, p.durable,
			meta.Sequence.Stream, meta.Timestamp.UnixNano()))
	}
	return letter
}

// printable keeps an error's text on one line of a header.
func printable(r rune) rune {
	if r < ' ' || r == 0x7f {
		return ' '
	}
	return r
}
