package main

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/arloliu/parti"
)

// publisherOf makes a publisher of files that lie in the folders of a lane.
func publisherOf(l *lane, files map[string]string, over time.Duration) *publisher {
	l.t.Helper()
	in, err := readInput(l.t.Context(), tree(l.t, files), 500)
	if err != nil {
		l.t.Fatal(err)
	}
	p := &publisher{js: l.bus.js, in: in, limit: 500, over: over}
	for _, part := range in.parts {
		p.subjects = append(p.subjects, l.bus.names.workSubject(part.partition()))
	}
	return p
}

func TestPublisherSendsEveryPieceOverItsTime(t *testing.T) {
	inBubble(t, func(l *lane) {
		t := l.t
		files := map[string]string{"a/large": strings.Repeat("word ", 250), "root": ""} // 3 pieces and 1
		for _, name := range []string{"b", "c", "d", "e", "f", "g"} {
			files["a/"+name] = name
		}
		p := publisherOf(l, files, 10*time.Second)
		begun := time.Now()
		var got []string
		halfway := 0
		p.taken = func(_ context.Context, batch []sent) error {
			for _, s := range batch {
				msg, err := mustStream(t, l).GetMsg(t.Context(), s.seq)
				if err != nil {
					return err
				}
				got = append(got, msg.Header.Get("File")+" "+msg.Header.Get("Piece"))
			}
			if time.Since(begun) <= 5*time.Second {
				halfway = len(got)
			}
			return nil
		}
		if err := p.run(t.Context()); err != nil {
			t.Fatal(err)
		}
		const want = `"a/b" 1/1 "a/c" 1/1 "a/d" 1/1 "a/e" 1/1 "root" 1/1 "a/f" 1/1 "a/g" 1/1 "a/large" 1/3 "a/large" 2/3 "a/large" 3/3`
		if s := strings.Join(got, " "); s != want {
			t.Errorf("published %s\nwant      %s", s, want)
		}
		if d := time.Since(begun); d < 8*time.Second || d > 10*time.Second || halfway < 4 || halfway > 6 {
			t.Errorf("10 messages took %s, %d of them the first half", d, halfway)
		}
	})
}

func mustStream(t *testing.T, l *lane) jetstream.Stream {
	t.Helper()
	s, err := l.bus.js.Stream(t.Context(), l.bus.names.Work)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestPublisherRefusesAChangedFile(t *testing.T) {
	inBubble(t, func(l *lane) {
		t := l.t
		for _, change := range []string{"beta", "alpha ", "alpha " + strings.Repeat("x ", 500)} {
			p := publisherOf(l, map[string]string{"a/file": "alpha"}, 0)
			p.taken = func(context.Context, []sent) error { return nil }
			if err := os.WriteFile(filepath.Join(p.in.root, "a", "file"), []byte(change), 0o600); err != nil {
				t.Fatal(err)
			}
			if err := p.run(t.Context()); err == nil || !strings.Contains(err.Error(), "publish a/file: the file changed while the demo ran") {
				t.Errorf("changed to %q: %v", change, err)
			}
		}
	})
}

func TestPublisherAsksAgain(t *testing.T) {
	inBubble(t, func(l *lane) {
		t := l.t
		p := publisherOf(l, map[string]string{"a/file": "alpha"}, 0)
		// The answer to the first attempt is lost; the message is not.
		lost := make(chan *jetstream.PubAck)
		p.js = deafJetStream{l.bus.js, lost}
		var got []sent
		p.taken = func(_ context.Context, batch []sent) error { got = append(got, batch...); return nil }
		if err := p.run(t.Context()); err != nil {
			t.Fatal(err)
		}
		if n := mustStream(t, l).CachedInfo().State.Msgs; len(got) != 1 || got[0].seq != 1 || n != 1 {
			t.Errorf("published %v, %d messages in the stream", got, n)
		}
	})
}

// deafJetStream never hears what becomes of a message sent in the background.
type deafJetStream struct {
	jetstream.JetStream

	ok chan *jetstream.PubAck
}

type deafAck struct {
	jetstream.PubAckFuture

	ok chan *jetstream.PubAck
}

func (d deafJetStream) PublishMsgAsync(msg *nats.Msg, opts ...jetstream.PublishOpt) (jetstream.PubAckFuture, error) {
	ack, err := d.JetStream.PublishMsgAsync(msg, opts...)
	return deafAck{ack, d.ok}, err
}

func (d deafAck) Ok() <-chan *jetstream.PubAck { return d.ok }

func TestResultsAreTakenInOrderAndForgotten(t *testing.T) {
	inBubble(t, func(l *lane) {
		t := l.t
		var seqs []uint64
		var last uint64
		stop, err := l.bus.results(t.Context(), func(r result, err error) {
			if err != nil {
				t.Error(err)
			}
			seqs, last = append(seqs, r.seq), r.at
		})
		if err != nil {
			t.Fatal(err)
		}
		for i := range 5 {
			r := result{seq: uint64(10 + i), worker: "w", token: parti.Token{Term: 1, Version: 1}}
			if _, err := l.bus.js.PublishMsg(t.Context(), r.message(l.bus.names.resultSubject())); err != nil {
				t.Fatal(err)
			}
		}
		time.Sleep(time.Second)
		stop()
		if len(seqs) != 5 || seqs[0] != 10 || seqs[4] != 14 || last != 5 {
			t.Errorf("results of %v, the last at %d", seqs, last)
		}
		if err := l.bus.forget(t.Context(), 3); err != nil {
			t.Fatal(err)
		}
		s, err := l.bus.js.Stream(t.Context(), l.bus.names.Results)
		if err != nil {
			t.Fatal(err)
		}
		if first := s.CachedInfo().State.FirstSeq; first != 4 {
			t.Errorf("the first result left is %d, want 4", first)
		}
		for taken, want := range map[uint64]bool{4: false, 5: true} {
			if idle, err := l.bus.idle(t.Context(), taken); err != nil || idle != want {
				t.Errorf("idle with %d results taken: %v, %v", taken, idle, err)
			}
		}
	})
}
