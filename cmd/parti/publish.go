package main

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// errChanged: what was counted is not what would be published.
var errChanged = errors.New("the file changed while the demo ran: run it on files that nobody writes to")

// publishTick is the time between two bursts of messages.
const publishTick = 100 * time.Millisecond

// maxUnacked bounds the messages of a burst that wait for their acknowledgement.
const maxUnacked = 64

// sent is a message that the stream has taken.
type sent struct {
	seq   uint64
	file  int
	piece int
}

// publisher sends every piece of the input to the subject of its partition, in
// bursts that spread the messages evenly over a time.
type publisher struct {
	js       jetstream.JetStream
	in       *input
	subjects []string // by partition
	limit    int      // size of a piece
	over     time.Duration
	taken    func(ctx context.Context, batch []sent) error

	begun   time.Time
	n       int // messages handed to NATS
	waiting []inFlight
}

// inFlight is a message that the stream has not acknowledged yet.
type inFlight struct {
	sent

	msg *nats.Msg
	ack jetstream.PubAckFuture
}

// run publishes everything and returns when the stream has it.
func (p *publisher) run(ctx context.Context) error {
	p.begun = time.Now()
	for _, i := range p.in.order() {
		if err := p.file(ctx, i); err != nil {
			return fmt.Errorf("publish %s: %w", p.in.files[i].path, err)
		}
	}
	if err := p.settle(ctx); err != nil {
		return fmt.Errorf("publish: %w", err)
	}
	return nil
}

func (p *publisher) file(ctx context.Context, i int) error {
	f := &p.in.files[i]
	file, err := f.open(p.in.root)
	if err != nil {
		return err
	}
	defer func() { _ = file.Close() }() // only read
	var sum uint32
	piece := 0
	err = eachPiece(file, p.limit, func(b []byte) error {
		piece++
		sum = checksum(sum, b)
		if piece > f.pieces {
			return errChanged
		}
		msg := nats.NewMsg(p.subjects[f.part])
		msg.Data = append([]byte(nil), b...)
		msg.Header.Set("File", strconv.QuoteToASCII(f.path))
		msg.Header.Set("Piece", fmt.Sprintf("%d/%d", piece, f.pieces))
		// Lets the stream drop the second of two attempts.
		msg.Header.Set(jetstream.MsgIDHeader, fmt.Sprintf("%d/%d", i, piece))
		return p.send(ctx, msg, sent{file: i, piece: piece})
	})
	switch {
	case err != nil:
		return err
	case sum != f.sum || piece != f.pieces:
		return errChanged
	}
	return nil
}

// send hands one message to NATS, when its time has come.
func (p *publisher) send(ctx context.Context, msg *nats.Msg, s sent) error {
	if p.n >= p.due() || len(p.waiting) >= maxUnacked {
		if err := p.settle(ctx); err != nil {
			return err
		}
	}
	for p.n >= p.due() {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(publishTick):
		}
	}
	ack, err := p.js.PublishMsgAsync(msg)
	if err != nil {
		return err
	}
	p.n++
	p.waiting = append(p.waiting, inFlight{s, msg, ack})
	return nil
}

// due is how many messages may have been sent by now.
func (p *publisher) due() int {
	if p.over <= 0 {
		return p.in.messages
	}
	ticks := time.Since(p.begun)/publishTick + 1
	return int(float64(p.in.messages)*float64(ticks*publishTick)/float64(p.over)) + 1
}

// settle waits until the stream has everything that was sent.
func (p *publisher) settle(ctx context.Context) error {
	if len(p.waiting) == 0 {
		return nil
	}
	batch := make([]sent, 0, len(p.waiting))
	for _, w := range p.waiting {
		ack, err := p.await(ctx, w)
		if err != nil {
			return err
		}
		w.seq = ack.Sequence
		batch = append(batch, w.sent)
	}
	p.waiting = p.waiting[:0]
	return p.taken(ctx, batch)
}

// await waits for the acknowledgement of one message; when it does not come the
// message is sent again, and its id keeps the stream from having it twice.
func (p *publisher) await(ctx context.Context, w inFlight) (*jetstream.PubAck, error) {
	var first error
	select {
	case ack := <-w.ack.Ok():
		return ack, nil
	case first = <-w.ack.Err():
	case <-time.After(2 * time.Second):
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	for giveUp := time.Now().Add(stallTimeout); ; {
		ack, err := p.js.PublishMsg(ctx, w.msg, jetstream.WithRetryAttempts(5))
		if err == nil {
			return ack, nil
		}
		if ctx.Err() != nil || time.Now().After(giveUp) {
			return nil, errors.Join(first, err)
		}
		select { // NATS is away
		case <-time.After(publishRetry):
		case <-ctx.Done():
		}
	}
}

// publishRetry is the pause between two attempts to publish while NATS is away.
const publishRetry = 500 * time.Millisecond
