package parti

import (
	"context"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/arloliu/parti/internal/core"
	"github.com/arloliu/parti/internal/natskv"
)

// scriptCore is a core whose reactions a test writes: an event that on does not
// answer is answered as by a core that has nothing to do.
type scriptCore struct {
	on func(ev core.Event) (effects []core.Effect, handled bool)

	mu     sync.Mutex
	snap   core.Snapshot
	events []core.Event
	cfg    core.Config
	wake   time.Duration // 0: no timer
}

func (c *scriptCore) Step(_ time.Duration, ev core.Event) []core.Effect {
	c.mu.Lock()
	c.events = append(c.events, ev)
	c.mu.Unlock()
	if c.on != nil {
		if effects, handled := c.on(ev); handled {
			return effects
		}
	}
	switch ev.(type) {
	case core.Start:
		return []core.Effect{c.state(core.Stable), core.Started{}}
	case core.Stop:
		return []core.Effect{c.state(core.Shutdown), core.Ended{}}
	case core.Abort:
		return []core.Effect{core.Ended{}}
	}
	return nil
}

// state changes the state and returns the effect that says so.
func (c *scriptCore) state(to core.State) core.Effect {
	c.mu.Lock()
	defer c.mu.Unlock()
	from := c.snap.State
	c.snap.State = to
	return core.StateChanged{From: from, To: to}
}

func (c *scriptCore) set(f func(*core.Snapshot)) {
	c.mu.Lock()
	defer c.mu.Unlock()
	f(&c.snap)
}

func (c *scriptCore) Snapshot() core.Snapshot {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.snap
}

func (c *scriptCore) Wake() (time.Duration, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.wake, c.wake != 0
}

func (c *scriptCore) setWake(at time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.wake = at
}

// seen returns the events of one type so far.
func seen[E core.Event](c *scriptCore) []E {
	c.mu.Lock()
	defer c.mu.Unlock()
	var found []E
	for _, ev := range c.events {
		if e, ok := ev.(E); ok {
			found = append(found, e)
		}
	}
	return found
}

// fakeConn is a connection whose status a test changes.
type fakeConn struct {
	mu        sync.Mutex
	status    nats.Status
	listeners []chan nats.Status
}

func newFakeConn() *fakeConn { return &fakeConn{status: nats.CONNECTED} }

func (c *fakeConn) Status() nats.Status {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.status
}

func (c *fakeConn) StatusChanged(...nats.Status) chan nats.Status {
	c.mu.Lock()
	defer c.mu.Unlock()
	ch := make(chan nats.Status, 10)
	c.listeners = append(c.listeners, ch)
	return ch
}

func (c *fakeConn) RemoveStatusListener(ch chan nats.Status) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.listeners = slices.DeleteFunc(c.listeners, func(l chan nats.Status) bool { return l == ch })
}

func (c *fakeConn) serverID() string         { return "server-1" }
func (c *fakeConn) maxPayload() int          { return 1 << 20 }
func (c *fakeConn) allowance() time.Duration { return time.Second }
func (c *fakeConn) warnings() []string       { return nil }

// turn changes the status and tells it, as nats.go does.
func (c *fakeConn) turn(s nats.Status) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.status = s
	for _, l := range c.listeners {
		select {
		case l <- s:
		default:
		}
	}
}

func (c *fakeConn) listening() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.listeners)
}

// fakeStore answers every operation with what do says.
type fakeStore struct {
	do    func(ctx context.Context, verb core.Verb, bucket int, key string) (natskv.Entry, error)
	watch func(ctx context.Context, filter string, fn func(natskv.Event)) (stop func(), err error)

	rebind func(context.Context) error
	closed atomic.Int32
}

func (s *fakeStore) op(ctx context.Context, verb core.Verb, bucket int, key string) (natskv.Entry, error) {
	if s.do == nil {
		return natskv.Entry{}, natskv.ErrNotFound
	}
	return s.do(ctx, verb, bucket, key)
}

func (s *fakeStore) Get(ctx context.Context, bucket int, key string) (natskv.Entry, error) {
	return s.op(ctx, core.Get, bucket, key)
}

func (s *fakeStore) Create(ctx context.Context, bucket int, key string, _ []byte) (uint64, error) {
	e, err := s.op(ctx, core.Create, bucket, key)
	return e.Rev, err
}

func (s *fakeStore) CreateFresh(ctx context.Context, bucket int, key string, val []byte) (uint64, error) {
	return s.Create(ctx, bucket, key, val)
}

func (s *fakeStore) Update(ctx context.Context, bucket int, key string, _ []byte, _ uint64) (uint64, error) {
	e, err := s.op(ctx, core.Update, bucket, key)
	return e.Rev, err
}

func (s *fakeStore) Delete(ctx context.Context, bucket int, key string, _ uint64) error {
	_, err := s.op(ctx, core.Delete, bucket, key)
	return err
}

func (s *fakeStore) Watch(ctx context.Context, _ int, filter, _ string, fn func(natskv.Event)) (func(), error) {
	if s.watch == nil {
		return func() {}, nil
	}
	return s.watch(ctx, filter, fn)
}

func (s *fakeStore) Rebind(ctx context.Context) error {
	if s.rebind == nil {
		return nil
	}
	return s.rebind(ctx)
}

func (s *fakeStore) Close() { s.closed.Add(1) }

func (*fakeStore) Warnings() []string { return nil }
func (*fakeStore) Created(b int) string {
	return [...]string{"t0", "t1", "t2", "t3"}[b]
}

// fakeJS is a JetStream context that nothing may be asked of.
type fakeJS struct {
	jetstream.JetStream
	nc *nats.Conn
}

func (f fakeJS) Conn() *nats.Conn { return f.nc }

type sourceFunc func(context.Context) ([]Partition, error)

func (f sourceFunc) ListPartitions(ctx context.Context) ([]Partition, error) { return f(ctx) }

type strategyFunc func([]string, []Partition) (map[string][]Partition, error)

func (f strategyFunc) Assign(w []string, p []Partition) (map[string][]Partition, error) {
	return f(w, p)
}

type updaterFunc func(context.Context, string, []Partition) error

func (f updaterFunc) UpdateWorkerConsumer(ctx context.Context, w string, p []Partition) error {
	return f(ctx, w, p)
}

// testManager is a manager on fakes.
type testManager struct {
	*Manager
	core  *scriptCore
	conn  *fakeConn
	store *fakeStore
	log   *logLines
}

func newTestManager(t *testing.T, opts ...Option) *testManager {
	t.Helper()
	tm := &testManager{core: &scriptCore{}, conn: newFakeConn(), store: &fakeStore{}, log: &logLines{}}
	source := sourceFunc(func(context.Context) ([]Partition, error) { return nil, nil })
	strategy := strategyFunc(func([]string, []Partition) (map[string][]Partition, error) { return nil, nil })
	m, err := NewManager(&Config{}, fakeJS{nc: &nats.Conn{}}, source, strategy, append(opts, WithLogger(tm.log))...)
	if err != nil {
		t.Fatal(err)
	}
	m.conn = tm.conn
	m.open = func(context.Context) (kvStore, error) { return tm.store, nil }
	m.newCore = func(cfg core.Config) machine { tm.core.cfg = cfg; return tm.core }
	tm.Manager = m
	return tm
}

func (tm *testManager) mustStart(t *testing.T) {
	t.Helper()
	if err := tm.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
}

func (tm *testManager) mustStop(t *testing.T) {
	t.Helper()
	if err := tm.Stop(context.Background()); err != nil {
		t.Fatal(err)
	}
}

// post tells the core an event from outside.
func (tm *testManager) post(ev core.Event) {
	tm.mu.Lock()
	r := tm.run
	tm.mu.Unlock()
	r.box.post(ev)
}

// cue is an event that a script answers: the tests' way to have the core emit
// effects. Nothing else uses its kind with ids from cueBase on.
const cueBase = 1 << 40

func cue(n uint64) core.Event { return core.Applied{Seq: cueBase + n} }

// onCue makes the core answer cue(n) with script(n).
func (tm *testManager) onCue(script func(n uint64) []core.Effect) {
	tm.core.on = func(ev core.Event) ([]core.Effect, bool) {
		if a, ok := ev.(core.Applied); ok && a.Seq >= cueBase {
			return script(a.Seq - cueBase), true
		}
		return nil, false
	}
}

// logLines keeps what is logged.
type logLines struct {
	mu    sync.Mutex
	lines []logLine
}

type logLine struct {
	level string
	msg   string
	pairs []any
}

func (l *logLines) add(level, msg string, pairs []any) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.lines = append(l.lines, logLine{level, msg, pairs})
}

func (l *logLines) Debug(msg string, pairs ...any) { l.add("debug", msg, pairs) }
func (l *logLines) Info(msg string, pairs ...any)  { l.add("info", msg, pairs) }
func (l *logLines) Warn(msg string, pairs ...any)  { l.add("warn", msg, pairs) }
func (l *logLines) Error(msg string, pairs ...any) { l.add("error", msg, pairs) }

// with returns the lines with a message.
func (l *logLines) with(msg string) []logLine {
	l.mu.Lock()
	defer l.mu.Unlock()
	var found []logLine
	for _, line := range l.lines {
		if line.msg == msg {
			found = append(found, line)
		}
	}
	return found
}

// value returns what follows key in the pairs of a line.
func (l logLine) value(key string) any {
	for i := 0; i+1 < len(l.pairs); i += 2 {
		if l.pairs[i] == key {
			return l.pairs[i+1]
		}
	}
	return nil
}

func owned(ids ...string) []core.Owned {
	var all []core.Owned
	for _, id := range ids {
		all = append(all, core.Owned{ID: id, Weight: 1, Token: core.Token{Term: 1, Version: 1}})
	}
	return all
}

func idsOf(ps []Partition) []string {
	ids := []string{}
	for _, p := range ps {
		ids = append(ids, p.ID())
	}
	return ids
}

// pass lets virtual time pass and everything that it caused come to rest.
func pass(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}
