package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/arloliu/parti"
	partitest "github.com/arloliu/parti/testing"
)

const testAckWait = 5 * time.Second

// lane is a stream with two partitions, made as the demo makes it.
type lane struct {
	t     *testing.T
	bus   *bus
	parts []parti.Partition
}

// inBubble calls f with a lane in virtual time.
func inBubble(t *testing.T, f func(l *lane)) {
	t.Helper()
	partitest.Bubble(t, func(t *testing.T, srv *partitest.Server) {
		t.Helper()
		f(newLane(t, srv))
	})
}

func newLane(t *testing.T, srv *partitest.Server) *lane {
	t.Helper()
	js, err := jetstream.New(srv.Connect(t))
	if err != nil {
		t.Fatal(err)
	}
	l := &lane{
		t: t, bus: &bus{js: js, names: newNames()},
		parts: []parti.Partition{{Keys: []string{"a"}}, {Keys: []string{"."}}},
	}
	if err := l.bus.prepare(t.Context(), l.parts, testAckWait); err != nil {
		t.Fatal(err)
	}
	return l
}

// publish sends messages 0 to n-1 to every partition.
func (l *lane) publish(n int) {
	l.t.Helper()
	for i := range n {
		for _, p := range l.parts {
			if _, err := l.bus.js.Publish(l.t.Context(), l.bus.names.workSubject(p), fmt.Append(nil, i)); err != nil {
				l.t.Fatal(err)
			}
		}
	}
}

func (l *lane) idle() bool {
	l.t.Helper()
	idle, err := l.bus.idle(l.t.Context(), len(l.parts), 0)
	if err != nil {
		l.t.Fatal(err)
	}
	return idle
}

// member is a worker's consumers and what they did.
type member struct {
	consumers

	mu    sync.Mutex
	did   []string // "partition message"
	busy  map[string]bool
	errs  []string
	doing func(ctx context.Context, what string) error // may be nil
}

func (l *lane) member() *member {
	m := &member{busy: make(map[string]bool)}
	m.consumers = consumers{
		js: l.bus.js, stream: l.bus.names.Work, durables: make(map[string]string),
		handle: m.work,
		failed: func(err error) {
			m.mu.Lock()
			defer m.mu.Unlock()
			m.errs = append(m.errs, err.Error())
		},
	}
	for i, p := range l.parts {
		m.durables[p.ID()] = durableName(i)
	}
	l.t.Cleanup(m.close)
	return m
}

func (m *member) work(ctx context.Context, p parti.Partition, msg jetstream.Msg) error {
	m.mu.Lock()
	if m.busy[p.ID()] {
		m.errs = append(m.errs, "two at a time in "+p.ID())
	}
	m.busy[p.ID()] = true
	m.mu.Unlock()
	defer func() {
		m.mu.Lock()
		defer m.mu.Unlock()
		m.busy[p.ID()] = false
	}()
	what := p.ID() + " " + string(msg.Data())
	if m.doing != nil {
		if err := m.doing(ctx, what); err != nil {
			return err
		}
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.did = append(m.did, what)
	return nil
}

// of returns the messages of a partition that were handled, in order.
func (m *member) of(part string) string {
	m.mu.Lock()
	defer m.mu.Unlock()
	var out []string
	for _, d := range m.did {
		if s, ok := strings.CutPrefix(d, part+" "); ok {
			out = append(out, s)
		}
	}
	return strings.Join(out, " ")
}

// problems returns the errors that were reported.
func (m *member) problems() []string {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.Clone(m.errs)
}

func (m *member) update(ctx context.Context, parts ...parti.Partition) error {
	return m.UpdateWorkerConsumer(ctx, "worker-0", parts)
}

// own updates with a call that must succeed.
func (m *member) own(t *testing.T, parts ...parti.Partition) {
	t.Helper()
	if err := m.update(t.Context(), parts...); err != nil {
		t.Fatal(err)
	}
}

func TestConsumersHandleInOrderOneAtATime(t *testing.T) {
	inBubble(t, func(l *lane) {
		t := l.t
		m := l.member()
		m.doing = func(context.Context, string) error { time.Sleep(10 * time.Millisecond); return nil }
		m.own(t, l.parts...)
		l.publish(5)
		time.Sleep(time.Second)
		if a, root := m.of("a"), m.of("%2E"); a != "0 1 2 3 4" || root != "0 1 2 3 4" || len(m.problems()) > 0 {
			t.Errorf("a: %s; root: %s; %q", a, root, m.problems())
		}
		if !l.idle() {
			t.Error("not everything is acknowledged")
		}
	})
}

func TestHandoffWaitsForTheMessageInHand(t *testing.T) {
	inBubble(t, func(l *lane) {
		t := l.t
		a, b := l.member(), l.member()
		release := make(chan struct{})
		a.doing = func(_ context.Context, what string) error {
			if what == "a 2" {
				<-release
			}
			return nil
		}
		l.publish(6)
		a.own(t, l.parts...)
		synctest.Wait()
		given := make(chan error, 1)
		go func() { given <- a.update(t.Context(), l.parts[1]) }()
		synctest.Wait()
		select {
		case err := <-given:
			t.Fatalf("the update returned (%v) with a message in hand", err)
		default:
		}
		close(release)
		if err := <-given; err != nil {
			t.Fatal(err)
		}
		begun := time.Now()
		b.own(t, l.parts[0])
		time.Sleep(time.Second)
		if got := a.of("a") + " | " + b.of("a"); got != "0 1 2 | 3 4 5" {
			t.Errorf("a: %s", got)
		}
		if got := a.of("%2E"); got != "0 1 2 3 4 5" {
			t.Errorf("the partition that stayed: %s", got)
		}
		if !l.idle() || time.Since(begun) >= testAckWait {
			t.Error("the handoff waited for AckWait")
		}
	})
}

func TestManyHandoffsUnderFlow(t *testing.T) {
	inBubble(t, func(l *lane) {
		t := l.t
		members := []*member{l.member(), l.member()}
		var did []string // by either of them
		var mu sync.Mutex
		for _, m := range members {
			m.doing = func(_ context.Context, what string) error {
				mu.Lock()
				defer mu.Unlock()
				did = append(did, what)
				return nil
			}
		}
		const flips, each = 50, 10
		begun := time.Now()
		for i := range flips {
			members[i%2].own(t, l.parts[0])
			for j := range each {
				if _, err := l.bus.js.Publish(t.Context(), l.bus.names.workSubject(l.parts[0]), fmt.Append(nil, i*each+j)); err != nil {
					t.Fatal(err)
				}
			}
			members[i%2].own(t)
		}
		members[0].own(t, l.parts[0])
		synctest.Wait()
		if len(did) != flips*each {
			t.Fatalf("%d messages handled, want %d", len(did), flips*each)
		}
		for i, d := range did {
			if d != fmt.Sprintf("a %d", i) {
				t.Fatalf("message %d is %q", i, d)
			}
		}
		if d := time.Since(begun); d >= testAckWait {
			t.Errorf("a handoff waited for AckWait: %s", d)
		}
		if a, b := len(members[0].did), len(members[1].did); a == 0 || b == 0 {
			t.Errorf("handled %d and %d", a, b)
		}
	})
}

func TestUpdateEndsWithItsContextAndCanBeRepeated(t *testing.T) {
	inBubble(t, func(l *lane) {
		t := l.t
		m := l.member()
		release := make(chan struct{})
		m.doing = func(context.Context, string) error { <-release; return nil }
		l.publish(1)
		m.own(t, l.parts[0])
		synctest.Wait()
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := m.update(ctx); !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), "finish partition a") {
			t.Errorf("error %v", err)
		}
		close(release)
		m.own(t)
		if got := m.of("a"); got != "0" || len(m.running) != 0 {
			t.Errorf("handled %q, %d still running", got, len(m.running))
		}
	})
}

func TestFailedMessageIsRepeatedInPlace(t *testing.T) {
	inBubble(t, func(l *lane) {
		t := l.t
		m := l.member()
		left := 30 // longer than AckWait in all
		m.doing = func(_ context.Context, what string) error {
			if what == "a 1" && left > 0 {
				left--
				return errors.New("not now")
			}
			return nil
		}
		l.publish(3)
		m.own(t, l.parts[0])
		time.Sleep(30 * time.Second)
		if got := m.of("a"); got != "0 1 2" {
			t.Errorf("handled %q", got)
		}
		if errs := m.problems(); len(errs) != 30 || errs[0] != "partition a: not now" {
			t.Errorf("%d errors: %q", len(errs), slices.Compact(errs))
		}
	})
}

func TestNextOwnerAfterCrashGetsTheMessageAtOnce(t *testing.T) {
	inBubble(t, func(l *lane) {
		t := l.t
		a, b := l.member(), l.member()
		a.doing = func(ctx context.Context, what string) error {
			if what == "a 1" {
				<-ctx.Done() // until it is abandoned
				return ctx.Err()
			}
			return nil
		}
		l.publish(4)
		a.own(t, l.parts[0])
		synctest.Wait()
		a.close()
		b.own(t, l.parts[0])
		time.Sleep(testAckWait / 2)
		if got := a.of("a") + " | " + b.of("a"); got != "0 | 1 2 3" {
			t.Errorf("half an AckWait after the crash: %s", got)
		}
	})
}

func TestConsumersSayWhatIsMissing(t *testing.T) {
	inBubble(t, func(l *lane) {
		t := l.t
		m := l.member()
		err := m.update(t.Context(), parti.Partition{Keys: []string{"strange"}}, l.parts[0])
		if err == nil || !strings.Contains(err.Error(), "pull partition strange: no consumer is known for it") {
			t.Errorf("unknown partition: %v", err)
		}
		l.publish(1)
		time.Sleep(time.Second)
		if m.of("a") != "0" {
			t.Error("a partition without consumer keeps the others from being pulled")
		}
		// A consumer that is deleted below us is reported, and missed by the
		// next update.
		if err := l.bus.js.DeleteConsumer(t.Context(), l.bus.names.Work, durableName(0)); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Second)
		if errs := m.problems(); len(errs) != 1 || !strings.Contains(errs[0], jetstream.ErrConsumerDeleted.Error()) {
			t.Errorf("errors %q", errs)
		}
		if err := m.update(t.Context(), l.parts[0]); !errors.Is(err, jetstream.ErrConsumerNotFound) {
			t.Errorf("update without the consumer: %v", err)
		}
	})
}
