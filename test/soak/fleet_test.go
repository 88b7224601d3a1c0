package soak

import (
	"bufio"
	"encoding/json"
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

// fleet starts worker processes and knows from what they say who owns what. It
// is used by one goroutine, which takes its events in turn.
type fleet struct {
	spec   spec
	events chan event
	procs  map[int]*process // that have not ended
	n      int              // processes started so far
	wg     sync.WaitGroup

	owner []int // process that is granted each partition; 0 = nobody
	// last is who had each partition, while nobody has: 0 when it was killed.
	last  []int
	moved int // partitions that one live worker let go of and another was granted
	own   *journal
	notes map[string]int // errors that were reported and survived, by text
}

// event is a record that a process says, or its end.
type event struct {
	rec    oracle.Record
	stderr string
	ended  bool
	err    error
}

// process is one worker process.
type process struct {
	n      int
	cmd    *exec.Cmd
	stdin  io.WriteCloser
	number int // of its worker id; -1 while it has none
	leader bool
	told   bool // to leave
	killed bool
	asked  int // refreshes that it has not answered
	errs   []string
}

func newFleet(s spec, own *journal) *fleet {
	return &fleet{
		spec: s, events: make(chan event, 1<<14), procs: make(map[int]*process), own: own, notes: make(map[string]int),
		owner: make([]int, s.Partitions), last: make([]int, s.Partitions),
	}
}

// start starts one more worker process.
func (f *fleet) start() (*process, error) {
	exe, err := os.Executable()
	if err != nil {
		return nil, err
	}
	f.n++
	s := f.spec
	s.Proc = f.n
	line, err := json.Marshal(s)
	if err != nil {
		return nil, err
	}
	cmd := exec.Command(exe)
	cmd.Env = append(os.Environ(), asWorker+"=1")
	cmd.SysProcAttr = childAttr()
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
	p := &process{n: f.n, cmd: cmd, stdin: stdin, number: -1}
	f.procs[p.n] = p
	f.wg.Go(func() { f.follow(p.n, cmd, stdout, stderr) })
	return p, p.say(string(line))
}

// say sends a command. One that has ended shows in its end.
func (p *process) say(line string) error {
	if _, err := io.WriteString(p.stdin, line+"\n"); err != nil && !p.killed && !p.told {
		return fmt.Errorf("tell worker process %d: %w", p.n, err)
	}
	return nil
}

// follow passes on what a process says, until it has ended.
func (f *fleet) follow(n int, cmd *exec.Cmd, stdout, stderr io.Reader) {
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
				f.events <- event{rec: oracle.Record{Proc: n}, stderr: line}
				continue
			}
			f.events <- event{rec: rec}
		}
	})
	pipes.Go(func() {
		in := bufio.NewScanner(stderr)
		for in.Scan() {
			f.events <- event{rec: oracle.Record{Proc: n}, stderr: in.Text()}
		}
	})
	pipes.Wait() // Wait closes the pipes, so only when both have been read
	f.events <- event{rec: oracle.Record{Proc: n}, ended: true, err: cmd.Wait()}
}

// take notes an event. It returns an error when a process ended that should not
// have.
func (f *fleet) take(ev event) error {
	r := ev.rec
	p := f.procs[r.Proc]
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
		if from := f.last[r.Part]; from != 0 && from != r.Proc && f.owner[r.Part] == 0 {
			f.moved++
		}
		f.owner[r.Part], f.last[r.Part] = r.Proc, 0
	case oracle.Released:
		if f.owner[r.Part] == r.Proc {
			f.owner[r.Part], f.last[r.Part] = 0, r.Proc
		}
	case oracle.Said:
		switch {
		case r.Text == sayStarted:
			p.number = r.N
		case r.Text == sayLeader:
			p.leader = r.N == 1
		case strings.HasPrefix(r.Text, sayRefreshed):
			p.asked--
			if r.Text != sayRefreshed {
				f.notes[r.Text]++
			}
		default:
			f.notes[r.Text]++
		}
	default:
	}
	return nil
}

func (f *fleet) ended(p *process, err error) error {
	delete(f.procs, p.n)
	_ = p.stdin.Close()
	if p.killed {
		f.own.add(oracle.Record{Kind: oracle.Killed, N: p.n})
		for part, owner := range f.owner {
			if owner == p.n {
				f.owner[part], f.last[part] = 0, 0
			}
		}
		return nil
	}
	if err == nil && !p.told {
		err = errors.New("nobody told it to")
	}
	if err != nil {
		return fmt.Errorf("worker process %d ended: %w\n%s", p.n, err, strings.Join(p.errs, "\n"))
	}
	return nil
}

// kill ends a process with SIGKILL. Its end comes as an event.
func (f *fleet) kill(p *process) error {
	p.killed = true
	if err := p.cmd.Process.Kill(); err != nil {
		return fmt.Errorf("kill worker process %d: %w", p.n, err)
	}
	return nil
}

// leave asks a process to leave the fleet and end.
func (f *fleet) leave(p *process) {
	p.told = true
	_ = p.stdin.Close()
}

// end ends every process, by force what does not end in time.
func (f *fleet) end(limit time.Duration) error {
	var first error
	for _, p := range f.procs {
		f.leave(p)
	}
	timeout := time.After(limit)
	for len(f.procs) > 0 {
		select {
		case ev := <-f.events:
			if err := f.take(ev); err != nil && first == nil {
				first = err
			}
		case <-timeout:
			if first == nil {
				first = fmt.Errorf("%d worker processes have not ended within %v: killed", len(f.procs), limit)
			}
			for _, p := range f.procs {
				_ = p.cmd.Process.Kill()
			}
		}
	}
	f.wg.Wait()
	return first
}

// live returns the processes that have joined and are to stay, in order.
func (f *fleet) live() []*process {
	var out []*process
	for _, p := range f.procs {
		if p.number >= 0 && !p.killed && !p.told {
			out = append(out, p)
		}
	}
	slices.SortFunc(out, func(a, b *process) int { return a.n - b.n })
	return out
}

// numbers returns the worker numbers of the live processes.
func (f *fleet) numbers() []int {
	var out []int
	for _, p := range f.live() {
		out = append(out, p.number)
	}
	return out
}

// leader returns the process that leads, or nil when that is not clear.
func (f *fleet) leader() *process {
	var one *process
	for _, p := range f.live() {
		if p.leader && one != nil {
			return nil
		}
		if p.leader {
			one = p
		}
	}
	return one
}

// owned tells whether every partition is owned by a live process.
func (f *fleet) owned() bool {
	return !slices.Contains(f.owner, 0)
}

// settled tells whether every partition is where its target says.
func (f *fleet) settled(targets []int) bool {
	numbers := f.numbers()
	for part, target := range targets {
		p := f.procs[f.owner[part]]
		if p == nil || p.killed || p.number != ownerOf(part, target, numbers) {
			return false
		}
	}
	return true
}
