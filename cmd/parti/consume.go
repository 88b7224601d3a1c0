package main

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/arloliu/parti"
	"github.com/arloliu/parti/cmd/parti/internal/fleet"
	"github.com/arloliu/parti/subscription"
)

// consumers keeps a worker pulling from exactly the partitions it owns.
func (w *worker) consumers() (*subscription.DurableHelper, error) {
	return subscription.NewDurableHelperJS(w.js, subscription.DurableConfig{
		StreamName:      w.spec.Names.Work,
		ConsumerPrefix:  "part",
		SubjectTemplate: w.spec.Names.workPrefix() + "{{.PartitionID}}",
		AckWait:         w.spec.Windows.AckWait,
		Metrics:         w.metrics,
		OnError: func(_ parti.Partition, err error) {
			w.reports.Send(fleet.Report{Kind: fleet.Failed, Worker: w.mgr.WorkerID(), Text: err.Error()})
		},
	}, subscription.MessageHandlerFunc(w.count))
}

// count counts the words of one message and publishes the result. Only when the
// stream has that is the message acknowledged, so that nothing is lost; who dies
// in between leaves a message that is counted again, and a second result.
func (w *worker) count(ctx context.Context, msg jetstream.Msg) error {
	meta, err := msg.Metadata()
	if err != nil {
		return err
	}
	part, ok := w.index[strings.TrimPrefix(msg.Subject(), w.spec.Names.workPrefix())]
	if !ok {
		return fmt.Errorf("no partition has the subject %s", msg.Subject())
	}
	if w.drop() {
		return nil
	}
	words := newWordCounts()
	words.countText(msg.Data())
	token, _ := w.mgr.Owns(w.spec.Parts[part])
	r := result{
		seq:    meta.Sequence.Stream,
		worker: w.mgr.WorkerID(),
		part:   part,
		token:  token,
		size:   int64(len(msg.Data())),
		sent:   meta.Timestamp,
		counts: words.encode(),
	}
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	if _, err := w.js.PublishMsg(ctx, r.message(w.spec.Names.resultSubject())); err != nil {
		return fmt.Errorf("publish result of message %d: %w", r.seq, err)
	}
	return nil
}

// drop reports whether to lose this message on purpose.
func (w *worker) drop() bool {
	if w.spec.DropEvery <= 0 {
		return false
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.seen++
	return w.seen%w.spec.DropEvery == 0
}
