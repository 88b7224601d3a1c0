package wall

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"slices"
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
)

// workerURL names the variable that makes a process of this test a worker.
const workerURL = "PARTI_TEST_WORKER"

// partitions is what the processes divide.
const partitions = 40

// status is what a worker prints, a line of JSON, whenever something changes.
type status struct {
	Worker string
	Leader bool
	Owns   []string
	Errs   []string // so far
}

// workerMain runs a worker until SIGTERM. Its work on a partition is nothing: what
// it owns is what it was told.
func workerMain(url string) int {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	err := runWorker(ctx, url)
	if err != nil {
		_, _ = fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

func runWorker(ctx context.Context, url string) error {
	nc, err := nats.Connect(url, parti.NATSOptions()...)
	if err != nil {
		return fmt.Errorf("connect: %w", err)
	}
	defer nc.Close()
	js, err := jetstream.New(nc)
	if err != nil {
		return fmt.Errorf("connect: %w", err)
	}
	var mu sync.Mutex
	var m *parti.Manager
	var errs []string
	tell := func(more ...string) error {
		mu.Lock()
		defer mu.Unlock()
		errs = append(errs, more...)
		s := status{Worker: m.WorkerID(), Leader: m.IsLeader(), Errs: errs}
		for _, p := range m.CurrentAssignment().Partitions {
			s.Owns = append(s.Owns, p.ID())
		}
		return json.NewEncoder(os.Stdout).Encode(s)
	}
	cfg := parti.Config{ // the default but for the waits for newcomers
		PlannedScaleWindow: 3 * time.Second, Assignment: parti.AssignmentConfig{MinRebalanceInterval: time.Second},
	}
	m, err = parti.NewManager(&cfg, js, source.NewStatic(fleettest.Numbered(partitions)), strategy.NewConsistentHash(),
		parti.WithHooks(&parti.Hooks{
			OnAssignmentChanged: func(context.Context, []parti.Partition, []parti.Partition) error { return tell() },
			OnStateChanged:      func(context.Context, parti.State, parti.State) error { return tell() },
			OnError:             func(_ context.Context, err error) error { return tell(err.Error()) },
		}))
	if err != nil {
		return fmt.Errorf("worker: %w", err)
	}
	if err := m.Start(ctx); err != nil {
		return fmt.Errorf("start: %w", err)
	}
	<-ctx.Done()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 20*time.Second)
	defer cancel()
	if err := m.Stop(ctx); err != nil {
		return fmt.Errorf("stop: %w", err)
	}
	return nil
}

// fleet is worker processes, and what each has said last.
type fleet struct {
	t   *testing.T
	url string

	mu      sync.Mutex
	changed chan struct{} // closed and replaced when anything is said
	ws      []*process
}

// process is one of them.
type process struct {
	f    *fleet
	cmd  *exec.Cmd
	done chan struct{} // its output has ended
	gone bool          // killed, or told to stop; or of no account while it is stopped
	said status
	ever map[string]bool // what it has ever owned
}

func newFleet(t *testing.T, url string, n int) *fleet {
	t.Helper()
	f := &fleet{t: t, url: url, changed: make(chan struct{})}
	t.Cleanup(func() {
		for _, p := range f.ws {
			_ = p.cmd.Process.Signal(syscall.SIGKILL)
			<-p.done
			_ = p.cmd.Wait()
		}
	})
	for range n {
		f.start()
	}
	f.await(time.Minute, "all partitions owned", f.owned)
	return f
}

// start starts a process.
func (f *fleet) start() *process {
	f.t.Helper()
	exe, err := os.Executable()
	if err != nil {
		f.t.Fatal(err)
	}
	p := &process{f: f, cmd: exec.Command(exe), done: make(chan struct{}), ever: map[string]bool{}}
	p.cmd.Env = append(os.Environ(), workerURL+"="+f.url)
	p.cmd.Stderr = os.Stderr
	out, err := p.cmd.StdoutPipe()
	if err != nil {
		f.t.Fatal(err)
	}
	if err := p.cmd.Start(); err != nil {
		f.t.Fatal(err)
	}
	f.mu.Lock()
	f.ws = append(f.ws, p)
	f.mu.Unlock()
	go func() {
		defer close(p.done)
		for lines := bufio.NewScanner(out); lines.Scan(); {
			var s status
			if json.Unmarshal(lines.Bytes(), &s) == nil {
				p.hear(s)
			}
		}
	}()
	return p
}

func (p *process) hear(s status) {
	p.f.mu.Lock()
	defer p.f.mu.Unlock()
	p.said = s
	for _, id := range s.Owns {
		p.ever[id] = true
	}
	close(p.f.changed)
	p.f.changed = make(chan struct{})
}

// signal sends a signal; from then on the process is of no account.
func (p *process) signal(s syscall.Signal) {
	p.f.t.Helper()
	p.f.mu.Lock()
	p.gone = true
	p.f.mu.Unlock()
	if err := p.cmd.Process.Signal(s); err != nil {
		p.f.t.Fatal(err)
	}
	if s == syscall.SIGSTOP {
		return
	}
	<-p.done
	err := p.cmd.Wait()
	if exit := (*exec.ExitError)(nil); err != nil && (s != syscall.SIGKILL || !errors.As(err, &exit)) {
		p.f.t.Errorf("a worker told to stop: %v", err)
	}
}

// live are those that count. The caller holds the lock.
func (f *fleet) live() []*process {
	return slices.DeleteFunc(slices.Clone(f.ws), func(p *process) bool { return p.gone })
}

// owned tells whether those that live own every partition once.
func (f *fleet) owned() bool {
	owner := map[string]bool{}
	n, leaders := 0, 0
	for _, p := range f.live() {
		for _, id := range p.said.Owns {
			owner[id] = true
			n++
		}
		if p.said.Leader {
			leaders++
		}
	}
	return n == partitions && len(owner) == partitions && leaders == 1
}

// await waits until what is said makes done true, and returns how long it took.
func (f *fleet) await(limit time.Duration, what string, done func() bool) time.Duration {
	f.t.Helper()
	began := time.Now()
	end := time.NewTimer(limit)
	defer end.Stop()
	for {
		f.mu.Lock()
		ok, changed := done(), f.changed
		f.mu.Unlock()
		if ok {
			return time.Since(began)
		}
		select {
		case <-changed:
		case <-end.C:
			f.mu.Lock()
			defer f.mu.Unlock()
			for _, p := range f.ws {
				f.t.Logf("gone %v: %s leads %v owns %d, errors %q", p.gone, p.said.Worker, p.said.Leader, len(p.said.Owns), p.said.Errs)
			}
			f.t.Fatalf("not after %v: %s", limit, what)
		}
	}
}

// pick returns a live process that leads, or one that does not.
func (f *fleet) pick(leads bool) *process {
	f.t.Helper()
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, p := range f.live() {
		if p.said.Leader == leads {
			return p
		}
	}
	f.t.Fatalf("nobody of whom it is %v that it leads", leads)
	return nil
}

// owners is which worker owns what.
func (f *fleet) owners() map[string]string {
	f.mu.Lock()
	defer f.mu.Unlock()
	owner := map[string]string{}
	for _, p := range f.live() {
		for _, id := range p.said.Owns {
			owner[id] = p.said.Worker
		}
	}
	return owner
}
