package main

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/nats-io/nuid"

	"github.com/arloliu/parti"
	"github.com/arloliu/parti/cmd/parti/internal/embed"
)

// bus is the NATS of one run: a server of its own or a connection to another,
// with streams and buckets whose names no other run has.
type bus struct {
	url   string
	about string // for people
	nc    *nats.Conn
	js    jetstream.JetStream
	names names

	prepared bool // there may be something of ours in NATS
	embedded *server.Server
	dir      string // where the embedded server stores
}

// names are what a run calls its things in NATS.
type names struct {
	Work    string // stream of messages
	Results string // stream of results
	// Prefix begins every subject.
	Prefix  string
	Buckets parti.KVBucketConfig
}

func newNames() names {
	run := "parti-demo-" + nuid.Next()
	return names{
		Work:    run + "-work",
		Results: run + "-results",
		Prefix:  run,
		Buckets: parti.KVBucketConfig{
			StableIDBucket:   run + "-stableid",
			ElectionBucket:   run + "-election",
			HeartbeatBucket:  run + "-heartbeat",
			AssignmentBucket: run + "-assignment",
		},
	}
}

func (n names) workPrefix() string                   { return n.Prefix + ".work." }
func (n names) workSubject(p parti.Partition) string { return n.workPrefix() + p.ID() }
func (n names) resultSubject() string                { return n.Prefix + ".results" }

// openBus connects to addr, or to a server that it starts when addr is empty.
func openBus(ctx context.Context, addr string) (*bus, error) {
	b := &bus{url: addr, names: newNames()}
	if err := b.open(ctx); err != nil {
		return nil, errors.Join(err, b.close(context.WithoutCancel(ctx)))
	}
	return b, nil
}

func (b *bus) open(ctx context.Context) (err error) {
	if b.url == "" {
		if err := b.embed(); err != nil {
			return fmt.Errorf("embedded NATS: %w", err)
		}
	}
	b.nc, err = nats.Connect(b.url, nats.Name("parti demo"), nats.Timeout(3*time.Second), nats.MaxReconnects(-1))
	if err != nil {
		return fmt.Errorf("no NATS at %s: %w: start one there (nats-server -js), or leave --nats out to use an embedded server", redacted(b.url), err)
	}
	if b.js, err = jetstream.New(b.nc); err != nil {
		return fmt.Errorf("NATS at %s: %w", redacted(b.url), err)
	}
	askCtx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	if _, err := b.js.AccountInfo(askCtx); err != nil {
		return fmt.Errorf("NATS at %s has no JetStream for us: %w: start the server with -js, or enable JetStream for the account", redacted(b.url), err)
	}
	if limit := b.nc.MaxPayload(); limit < 2*pieceSize {
		return fmt.Errorf("NATS at %s takes messages of %d bytes, the demo needs %d: raise max_payload", redacted(b.url), limit, 2*pieceSize)
	}
	if b.about == "" {
		b.about = fmt.Sprintf("nats-server %s at %s, streams and buckets %s-* (removed at the end)",
			b.nc.ConnectedServerVersion(), b.nc.ConnectedUrlRedacted(), b.names.Prefix)
	}
	return nil
}

// redacted hides the passwords of a list of URLs.
func redacted(urls string) string {
	all := strings.Split(urls, ",")
	for i, s := range all {
		if u, err := url.Parse(s); err == nil {
			all[i] = u.Redacted()
		}
	}
	return strings.Join(all, ",")
}

// embed starts a server on a port of loopback that the system chooses.
func (b *bus) embed() error {
	dir, err := os.MkdirTemp("", "parti-demo-")
	if err != nil {
		return err
	}
	b.dir = dir
	b.embedded, err = embed.Start(embed.Options{Name: "parti-demo", Dir: filepath.Join(dir, "jetstream")})
	if err != nil {
		return err
	}
	b.url = b.embedded.ClientURL()
	b.about = fmt.Sprintf("embedded nats-server %s on %s, JetStream in %s (removed at the end)",
		server.VERSION, b.embedded.Addr(), dir)
	return nil
}

// prepare makes the streams.
func (b *bus) prepare(ctx context.Context, partitions int) error {
	b.prepared = true
	_, err := b.js.CreateStream(ctx, jetstream.StreamConfig{
		Name:      b.names.Work,
		Subjects:  []string{b.names.workPrefix() + ">"},
		Retention: jetstream.WorkQueuePolicy, // what is acknowledged needs no space
		// 2.15 allows 1,000 unless it is told otherwise.
		MaxConsumers: max(1000, 2*partitions),
	})
	if err != nil {
		return fmt.Errorf("create stream %s: %w", b.names.Work, err)
	}
	_, err = b.js.CreateStream(ctx, jetstream.StreamConfig{
		Name:     b.names.Results,
		Subjects: []string{b.names.resultSubject()},
	})
	if err != nil {
		return fmt.Errorf("create stream %s: %w", b.names.Results, err)
	}
	return nil
}

// results calls take with every result, in order, until stop is called. Results
// that were taken are removed now and then.
func (b *bus) results(ctx context.Context, take func(result, error)) (stop func(), err error) {
	cons, err := b.js.OrderedConsumer(ctx, b.names.Results, jetstream.OrderedConsumerConfig{})
	if err != nil {
		return nil, fmt.Errorf("read results: %w", err)
	}
	cc, err := cons.Consume(func(m jetstream.Msg) {
		r, err := parseResult(m.Headers(), m.Data())
		if meta, merr := m.Metadata(); merr == nil {
			r.at, r.stored = meta.Sequence.Stream, meta.Timestamp
		} else {
			err = errors.Join(err, merr)
		}
		take(r, err)
	})
	if err != nil {
		return nil, fmt.Errorf("read results: %w", err)
	}
	return func() {
		cc.Stop()
		<-cc.Closed()
	}, nil
}

// idle reports whether every message is acknowledged and every result up to
// taken has been read.
func (b *bus) idle(ctx context.Context, taken uint64) (bool, error) {
	work, err := b.js.Stream(ctx, b.names.Work)
	if err != nil {
		return false, fmt.Errorf("look at stream %s: %w", b.names.Work, err)
	}
	if work.CachedInfo().State.Msgs > 0 { // a work queue keeps what is not acknowledged
		return false, nil
	}
	stream, err := b.js.Stream(ctx, b.names.Results)
	if err != nil {
		return false, fmt.Errorf("look at stream %s: %w", b.names.Results, err)
	}
	return stream.CachedInfo().State.LastSeq <= taken, nil
}

// forget removes the results up to a sequence.
func (b *bus) forget(ctx context.Context, upTo uint64) error {
	stream, err := b.js.Stream(ctx, b.names.Results)
	if err != nil {
		return fmt.Errorf("purge results: %w", err)
	}
	if err := stream.Purge(ctx, jetstream.WithPurgeSequence(upTo+1)); err != nil {
		return fmt.Errorf("purge results: %w", err)
	}
	return nil
}

// close removes everything of this run from NATS, and the embedded server with
// its files.
func (b *bus) close(ctx context.Context) error {
	var errs []error
	if b.embedded == nil && b.prepared {
		ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
		defer cancel()
		for _, s := range []string{b.names.Work, b.names.Results} {
			if err := b.js.DeleteStream(ctx, s); err != nil && !errors.Is(err, jetstream.ErrStreamNotFound) {
				errs = append(errs, fmt.Errorf("remove stream %s: %w", s, err))
			}
		}
		k := b.names.Buckets
		for _, s := range []string{k.StableIDBucket, k.ElectionBucket, k.HeartbeatBucket, k.AssignmentBucket} {
			if err := b.js.DeleteKeyValue(ctx, s); err != nil && !errors.Is(err, jetstream.ErrBucketNotFound) {
				errs = append(errs, fmt.Errorf("remove bucket %s: %w", s, err))
			}
		}
	}
	if b.nc != nil {
		b.nc.Close()
	}
	if b.embedded != nil {
		b.embedded.Shutdown()
		b.embedded.WaitForShutdown()
	}
	if b.dir != "" {
		if err := os.RemoveAll(b.dir); err != nil {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}
