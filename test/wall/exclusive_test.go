package wall

import (
	"bufio"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"net"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/arloliu/parti"
	"github.com/arloliu/parti/internal/fleettest"
	"github.com/arloliu/parti/source"
	"github.com/arloliu/parti/strategy"
	partitest "github.com/arloliu/parti/testing"
)

// write is what a worker process asks the store to write.
type write struct {
	Partition string
	Token     parti.Token
}

// storeEnv makes a process of this test binary a worker: it has the address of
// the store, natsEnv that of NATS.
const (
	storeEnv = "PARTI_WALL_STORE"
	natsEnv  = "PARTI_WALL_NATS"
)

// workForStore is the main function of a worker process: each call of Run checks
// its context and writes 10 ms later, whatever the store answers.
func workForStore(store, url string) error {
	conn, err := net.Dial("tcp", store)
	if err != nil {
		return err
	}
	nc, err := nats.Connect(url, parti.NATSOptions()...)
	if err != nil {
		return err
	}
	js, err := jetstream.New(nc)
	if err != nil {
		return err
	}
	mgr, err := parti.NewManager(exclusiveConfig(), js, source.NewStatic(fleettest.Numbered(12)), strategy.NewConsistentHash())
	if err != nil {
		return err
	}
	var mu sync.Mutex
	out := json.NewEncoder(conn)
	return mgr.Run(context.Background(), func(ctx context.Context, p parti.Partition, t parti.Token) error {
		for ctx.Err() == nil {
			// A worker that is suspended here writes when it is resumed, though
			// it has checked before: only the store can refuse that.
			<-time.After(10 * time.Millisecond)
			mu.Lock()
			err := out.Encode(write{p.ID(), t})
			mu.Unlock()
			if err != nil {
				os.Exit(1) // the test is over
			}
		}
		return nil
	})
}

func exclusiveConfig() *parti.Config {
	return &parti.Config{
		Ownership: parti.OwnershipExclusive, ColdStartSettle: 500 * time.Millisecond,
		HeartbeatInterval: 500 * time.Millisecond, HeartbeatTTL: 1500 * time.Millisecond,
		EmergencyGracePeriod: 500 * time.Millisecond, PlannedScaleWindow: 500 * time.Millisecond,
		Assignment: parti.AssignmentConfig{MinRebalanceInterval: 500 * time.Millisecond},
	}
}

// tokenStore is a store that checks tokens. It is also the judge.
type tokenStore struct {
	mu       sync.Mutex
	newest   map[string]parti.Token
	writer   map[string]int // whose write was accepted last
	refused  int
	accepted int
	stale    []string            // accepted although another worker had a newer token accepted before
	owners   map[string]lastSeen // history of the judge
	changed  chan struct{}
}

type lastSeen struct {
	token  parti.Token
	writer int
}

func newTokenStore() *tokenStore {
	return &tokenStore{newest: map[string]parti.Token{}, writer: map[string]int{}, owners: map[string]lastSeen{}, changed: make(chan struct{})}
}

func (s *tokenStore) write(worker int, w write) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if w.Token.Less(s.newest[w.Partition]) {
		s.refused++
		return
	}
	s.newest[w.Partition] = w.Token
	s.accepted++
	// The judge: a token belongs to one worker only, and none comes back.
	last := s.owners[w.Partition]
	if w.Token.Less(last.token) || w.Token == last.token && worker != last.writer {
		s.stale = append(s.stale, fmt.Sprintf("worker %d wrote %s with %v after worker %d with %v", worker, w.Partition, w.Token, last.writer, last.token))
	}
	s.owners[w.Partition] = lastSeen{w.Token, worker}
	if by, ok := s.writer[w.Partition]; !ok || by != worker {
		s.writer[w.Partition] = worker
		close(s.changed)
		s.changed = make(chan struct{})
	}
}

// awaitWriters waits until every partition was last written by one of these
// workers, and each of them has one.
func (s *tokenStore) awaitWriters(t *testing.T, partitions int, workers ...int) {
	t.Helper()
	limit := time.After(20 * time.Second * slow)
	for {
		s.mu.Lock()
		have := map[int]int{}
		for _, w := range s.writer {
			have[w]++
		}
		changed := s.changed
		s.mu.Unlock()
		n, all := 0, true
		for _, w := range workers {
			n += have[w]
			all = all && have[w] > 0
		}
		if n == partitions && all {
			return
		}
		select {
		case <-changed:
		case <-limit:
			t.Fatalf("partitions by worker: %v, want all %d with %v", have, partitions, workers)
		}
	}
}

// cutter is a way to NATS that can be cut: a proxy for one process.
type cutter struct {
	listener net.Listener
	to       string

	mu     sync.Mutex
	cut    bool
	silent chan struct{} // while it is, connections stay and nothing passes; closed when that is over
	conns  []net.Conn
	all    sync.WaitGroup
}

func newCutter(t *testing.T, to string) *cutter {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	c := &cutter{listener: l, to: to}
	c.all.Go(func() {
		for {
			in, err := l.Accept()
			if err != nil {
				return
			}
			c.connect(in)
		}
	})
	t.Cleanup(func() {
		_ = l.Close()
		c.hush(false)
		c.set(true)
		c.all.Wait()
	})
	return c
}

func (c *cutter) connect(in net.Conn) {
	c.mu.Lock()
	defer c.mu.Unlock()
	out, err := net.Dial("tcp", c.to)
	if err != nil || c.cut {
		_ = in.Close()
		if err == nil {
			_ = out.Close()
		}
		return
	}
	c.conns = append(c.conns, in, out)
	pipe := func(to, from net.Conn) {
		buf := make([]byte, 1<<16)
		for {
			n, err := from.Read(buf)
			if err != nil {
				break
			}
			c.mu.Lock()
			silent := c.silent
			c.mu.Unlock()
			if silent != nil {
				<-silent
			}
			if _, err := to.Write(buf[:n]); err != nil {
				break
			}
		}
		_ = to.Close()
		_ = from.Close()
	}
	c.all.Go(func() { pipe(in, out) })
	c.all.Go(func() { pipe(out, in) })
}

func (c *cutter) set(cut bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.cut = cut
	for _, conn := range c.conns {
		_ = conn.Close()
	}
	c.conns = nil
}

// hush has nothing pass, and nobody told, or what was held up pass.
func (c *cutter) hush(silent bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.silent != nil {
		close(c.silent)
		c.silent = nil
	}
	if silent {
		c.silent = make(chan struct{})
	}
}

// spells are how long workers are suspended and cut off.
var spells = flag.String("spells", "5s", "how long workers that write to a store are suspended, and cut off, one after the other")

// TestExclusiveWritesAreFenced suspends a worker process, cuts the next one off and
// then the third without a word, for a while each, while all of them write to a
// store that checks tokens: it accepts no stale write, and what the others got in
// time they write.
func TestExclusiveWritesAreFenced(t *testing.T) {
	t.Parallel()
	const workers, partitions = 3, 12
	srv := partitest.StartServer(t)
	store := newTokenStore()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var readers sync.WaitGroup
	t.Cleanup(readers.Wait)
	t.Cleanup(func() { _ = listener.Close() })

	cutters, processes := make([]*cutter, workers), make([]*exec.Cmd, workers)
	for i := range workers {
		cutters[i] = newCutter(t, strings.TrimPrefix(srv.URL(), "nats://"))
		cmd := exec.Command(os.Args[0], "-test.run=^$") // ended below, by its id
		cmd.Env = append(os.Environ(), storeEnv+"="+listener.Addr().String(), natsEnv+"=nats://"+cutters[i].listener.Addr().String())
		cmd.Stderr = os.Stderr
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		processes[i] = cmd
		t.Cleanup(func() {
			_ = cmd.Process.Kill()
			_ = cmd.Wait()
		})
		conn, err := listener.Accept() // of this process: the next is not started yet
		if err != nil {
			t.Fatal(err)
		}
		readers.Go(func() {
			defer conn.Close()
			for in := json.NewDecoder(bufio.NewReader(conn)); ; {
				var w write
				if in.Decode(&w) != nil {
					return
				}
				store.write(i, w)
			}
		})
	}
	store.awaitWriters(t, partitions, 0, 1, 2)

	for i, text := range strings.Split(*spells, ",") {
		spell, err := time.ParseDuration(text)
		if err != nil {
			t.Fatal(err)
		}
		signal := func(victim int, s syscall.Signal) {
			if err := processes[victim].Process.Signal(s); err != nil {
				t.Fatal(err)
			}
		}
		for j, trouble := range []struct{ begin, end func(victim int) }{
			{func(v int) { signal(v, syscall.SIGSTOP) }, func(v int) { signal(v, syscall.SIGCONT) }},
			{func(v int) { cutters[v].set(true) }, func(v int) { cutters[v].set(false) }},
			{func(v int) { cutters[v].hush(true) }, func(v int) { cutters[v].hush(false) }},
		} {
			victim := (i + j) % workers
			over := time.After(spell)
			trouble.begin(victim)
			store.awaitWriters(t, partitions, (victim+1)%workers, (victim+2)%workers)
			<-over
			trouble.end(victim)
			store.awaitWriters(t, partitions, 0, 1, 2)
		}
	}

	store.mu.Lock()
	defer store.mu.Unlock()
	t.Logf("%d writes accepted, %d of them stale, %d refused", store.accepted, len(store.stale), store.refused)
	for _, line := range store.stale {
		t.Error(line)
	}
	if store.refused == 0 {
		t.Error("no stale write was tried")
	}
}
