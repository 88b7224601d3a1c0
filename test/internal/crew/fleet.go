package crew

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/arloliu/parti/test/soak/oracle"
)

// Fleet starts worker processes and knows from what they say who owns what. It
// is used by one goroutine, which takes its events in turn.
type Fleet struct {
	// Events are to be given to Take.
	Events chan Event
	// Procs are the processes that have not ended, by number.
	Procs map[int]*Process
	// N is how many were started so far.
	N int
	// Owner is the process that is granted each partition; 0 is nobody.
	Owner []int
	// Moved counts partitions that one live worker let go of and another was
	// granted.
	Moved int
	// Notes counts what was said beside, by text.
	Notes map[string]int
	// Heard is asked first about what a process says; true means that it is dealt
	// with.
	Heard func(p *Process, r oracle.Record) bool

	env  string                         // that makes the test binary a worker
	spec func(proc int) (string, error) // its first line
	wg   sync.WaitGroup
	// last is who had each partition, while nobody has: 0 when it was killed.
	last []int
	own  *Journal
}

// SayStarted is what a worker process says, with the number of its id, when it is
// a member of the fleet.
const SayStarted = "started"

// Event is a record that a process says, or its end.
type Event struct {
	rec    oracle.Record
	stderr string
	ended  bool
	err    error
}

// Process is one worker process.
type Process struct {
	N      int
	Number int // of its worker id; -1 while it has none
	Leader bool
	State  string // that it said last
	Told   bool   // to leave
	Killed bool
	Asked  int // questions that it has not answered

	cmd   *exec.Cmd
	stdin io.WriteCloser
	errs  []string
}

// NewFleet returns a fleet without workers. The environment variable env makes
// the test binary a worker process, whose first line of input spec returns. Own
// is the runner's journal.
func NewFleet(env string, partitions int, own *Journal, spec func(proc int) (string, error)) *Fleet {
	return &Fleet{
		Events: make(chan Event, 1<<14), Procs: make(map[int]*Process), Notes: make(map[string]int),
		Owner: make([]int, partitions), last: make([]int, partitions),
		Heard: func(*Process, oracle.Record) bool { return false },
		env:   env, spec: spec, own: own,
	}
}

// Start starts one more worker process.
func (f *Fleet) Start() (*Process, error) {
	exe, err := os.Executable()
	if err != nil {
		return nil, err
	}
	f.N++
	line, err := f.spec(f.N)
	if err != nil {
		return nil, err
	}
	cmd := exec.Command(exe) //nolint:gosec // this very test binary
	cmd.Env = append(os.Environ(), f.env+"=1")
	cmd.SysProcAttr = ChildAttr()
	stdin, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	stderr, err := cmd.StderrPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("start worker process: %w", err)
	}
	p := &Process{N: f.N, cmd: cmd, stdin: stdin, Number: -1}
	f.Procs[p.N] = p
	f.wg.Go(func() { f.follow(p.N, cmd, stdout, stderr) })
	return p, p.Say(line)
}

// Say sends a command. One that has ended shows in its end.
func (p *Process) Say(line string) error {
	if _, err := io.WriteString(p.stdin, line+"\n"); err != nil && !p.Killed && !p.Told {
		return fmt.Errorf("tell worker process %d: %w", p.N, err)
	}
	return nil
}

// follow passes on what a process says, until it has ended.
func (f *Fleet) follow(n int, cmd *exec.Cmd, stdout, stderr io.Reader) {
	var pipes sync.WaitGroup
	pipes.Go(func() {
		in := bufio.NewReader(stdout)
		for {
			line, err := in.ReadString('\n')
			if err != nil {
				return // half a line is of one that was killed
			}
			rec, err := oracle.Parse(line)
			rec.Proc = n
			if err != nil {
				f.Events <- Event{rec: oracle.Record{Proc: n}, stderr: line}
				continue
			}
			f.Events <- Event{rec: rec}
		}
	})
	pipes.Go(func() {
		in := bufio.NewScanner(stderr)
		for in.Scan() {
			f.Events <- Event{rec: oracle.Record{Proc: n}, stderr: in.Text()}
		}
	})
	pipes.Wait() // Wait closes the pipes, so only when both have been read
	f.Events <- Event{rec: oracle.Record{Proc: n}, ended: true, err: cmd.Wait()}
}

// Take notes an event. It returns an error when a process ended that should not
// have.
func (f *Fleet) Take(ev Event) error {
	r := ev.rec
	p := f.Procs[r.Proc]
	switch {
	case p == nil:
		return fmt.Errorf("event of process %d, which has ended", r.Proc)
	case ev.ended:
		return f.ended(p, ev.err)
	case ev.stderr != "":
		p.errs = append(p.errs, ev.stderr)
		return nil
	}
	switch r.Kind {
	case oracle.Granted:
		if from := f.last[r.Part]; from != 0 && from != r.Proc && f.Owner[r.Part] == 0 {
			f.Moved++
		}
		f.Owner[r.Part], f.last[r.Part] = r.Proc, 0
	case oracle.Released:
		if f.Owner[r.Part] == r.Proc {
			f.Owner[r.Part], f.last[r.Part] = 0, r.Proc
		}
	case oracle.Said:
		switch {
		case f.Heard(p, r):
		case r.Text == SayStarted:
			p.Number = r.N
		default:
			f.Notes[r.Text]++
		}
	default:
	}
	return nil
}

func (f *Fleet) ended(p *Process, err error) error {
	delete(f.Procs, p.N)
	_ = p.stdin.Close()
	if p.Killed {
		f.own.Add(oracle.Record{Kind: oracle.Killed, N: p.N})
		for part, owner := range f.Owner {
			if owner == p.N {
				f.Owner[part], f.last[part] = 0, 0
			}
		}
		return nil
	}
	if err == nil && !p.Told {
		err = errors.New("nobody told it to")
	}
	if err != nil {
		return fmt.Errorf("worker process %d ended: %w\n%s", p.N, err, strings.Join(p.errs, "\n"))
	}
	return nil
}

// Kill ends a process with SIGKILL. Its end comes as an event.
func (f *Fleet) Kill(p *Process) error {
	p.Killed = true
	if err := p.cmd.Process.Kill(); err != nil {
		return fmt.Errorf("kill worker process %d: %w", p.N, err)
	}
	return nil
}

// Signal sends a process a signal.
func (p *Process) Signal(s os.Signal) error {
	if err := p.cmd.Process.Signal(s); err != nil {
		return fmt.Errorf("signal worker process %d: %w", p.N, err)
	}
	return nil
}

// Leave asks a process to leave the fleet and end.
func (f *Fleet) Leave(p *Process) {
	p.Told = true
	_ = p.stdin.Close()
}

// End ends every process, by force what does not end in time.
func (f *Fleet) End(limit time.Duration) error {
	var first error
	for _, p := range f.Procs {
		f.Leave(p)
	}
	timeout := time.After(limit)
	for len(f.Procs) > 0 {
		select {
		case ev := <-f.Events:
			if err := f.Take(ev); err != nil && first == nil {
				first = err
			}
		case <-timeout:
			if first == nil {
				first = fmt.Errorf("%d worker processes have not ended within %v: killed", len(f.Procs), limit)
			}
			for _, p := range f.Procs {
				_ = p.cmd.Process.Kill()
			}
		}
	}
	f.wg.Wait()
	return first
}

// Live returns the processes that have joined and are to stay, in order.
func (f *Fleet) Live() []*Process {
	var out []*Process
	for _, p := range f.Procs {
		if p.Number >= 0 && !p.Killed && !p.Told {
			out = append(out, p)
		}
	}
	slices.SortFunc(out, func(a, b *Process) int { return a.N - b.N })
	return out
}

// Numbers returns the worker numbers of the live processes.
func (f *Fleet) Numbers() []int {
	var out []int
	for _, p := range f.Live() {
		out = append(out, p.Number)
	}
	return out
}

// Leader returns the process that leads, or nil when that is not clear.
func (f *Fleet) Leader() *Process {
	var one *Process
	for _, p := range f.Live() {
		if p.Leader && one != nil {
			return nil
		}
		if p.Leader {
			one = p
		}
	}
	return one
}

// Owned tells whether every partition is owned by a live process.
func (f *Fleet) Owned() bool {
	return !slices.Contains(f.Owner, 0)
}

// Until takes events until cond holds, for no longer than limit.
func (f *Fleet) Until(ctx context.Context, what string, limit time.Duration, cond func() bool) error {
	timeout := time.After(limit)
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for !cond() {
		select {
		case ev := <-f.Events:
			if err := f.Take(ev); err != nil {
				return err
			}
		case <-tick.C:
		case <-timeout:
			return fmt.Errorf("not within %v: %s", limit, what)
		case <-ctx.Done():
			return fmt.Errorf("%s: %w", what, ctx.Err())
		}
	}
	return nil
}
