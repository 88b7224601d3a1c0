// Package fleet runs worker processes of this very binary, for the demo and for
// the benchmark: it starts them, follows what they report, and knows from that
// who owns what.
package fleet

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"sync"
)

// Fleet starts processes and passes on what they say. It is used by one
// goroutine, which must take its events until every process has ended.
type Fleet struct {
	Events chan Event
	Procs  map[int]*Process
	n      int
	wg     sync.WaitGroup
}

// Event is a report of a process, a line of its standard error, or its end.
type Event struct {
	Proc   int
	Report *Report
	Stderr string
	Ended  bool
	Err    error // how it ended
}

// Process is one process of a fleet.
type Process struct {
	N     int // counted from 1, in the order of starting
	Cmd   *exec.Cmd
	stdin io.WriteCloser
	ID    string // worker id, once known
	// Killed and told say why it is going to end.
	Killed, told bool
}

// New returns a fleet without processes.
func New() *Fleet {
	return &Fleet{Events: make(chan Event, 256), Procs: make(map[int]*Process)}
}

// Start starts one more process: a hidden command of this binary, which reads
// spec from its standard input; see [Serve].
func (f *Fleet) Start(command string, spec any) (*Process, error) {
	exe, err := os.Executable()
	if err != nil {
		return nil, fmt.Errorf("start %s: %w", command, err)
	}
	text, err := json.Marshal(spec)
	if err != nil {
		return nil, fmt.Errorf("start %s: %w", command, err)
	}
	cmd := exec.Command(exe, command) //nolint:gosec // this binary
	cmd.SysProcAttr = childAttr()
	stdin, err := cmd.StdinPipe()
	if err != nil {
		return nil, fmt.Errorf("start %s: %w", command, err)
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		return nil, fmt.Errorf("start %s: %w", command, err)
	}
	stderr, err := cmd.StderrPipe()
	if err != nil {
		return nil, fmt.Errorf("start %s: %w", command, err)
	}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("start %s: %w", command, err)
	}
	f.n++
	p := &Process{N: f.n, Cmd: cmd, stdin: stdin}
	f.Procs[p.N] = p
	f.wg.Go(func() {
		// A process that ends before it has read its specification shows in
		// how it ended.
		_, _ = io.Copy(stdin, bytes.NewReader(text))
		f.follow(p.N, cmd, stdout, stderr)
	})
	return p, nil
}

// follow passes on what a process writes, until it has ended.
func (f *Fleet) follow(n int, cmd *exec.Cmd, stdout, stderr io.Reader) {
	var pipes sync.WaitGroup
	pipes.Go(func() {
		eachLine(stdout, func(line []byte) {
			var r Report
			if err := json.Unmarshal(line, &r); err != nil {
				f.Events <- Event{Proc: n, Stderr: string(line)}
				return
			}
			f.Events <- Event{Proc: n, Report: &r}
		})
	})
	pipes.Go(func() {
		eachLine(stderr, func(line []byte) { f.Events <- Event{Proc: n, Stderr: string(line)} })
	})
	pipes.Wait() // Wait closes the pipes, so only when both have been read
	f.Events <- Event{Proc: n, Ended: true, Err: cmd.Wait()}
}

// eachLine calls yield with every complete line; the half line of a process
// that was killed while it wrote is left out.
func eachLine(r io.Reader, yield func([]byte)) {
	in := bufio.NewReader(r)
	for {
		line, err := in.ReadBytes('\n')
		if err != nil {
			return
		}
		yield(bytes.TrimRight(line, "\r\n"))
	}
}

// Kill ends a process with SIGKILL: it has no chance to say or finish anything.
func (f *Fleet) Kill(p *Process) error {
	p.Killed = true
	if err := p.Cmd.Process.Kill(); err != nil {
		return fmt.Errorf("kill process %d: %w", p.Cmd.Process.Pid, err)
	}
	return nil
}

// Tell asks a process to end in good order.
func (p *Process) Tell() {
	if !p.told {
		p.told = true
		_ = p.stdin.Close() // may be gone already
	}
}

// Told reports whether the process was asked to end, or killed.
func (p *Process) Told() bool { return p.told || p.Killed }

// TellAll asks every process to end in good order.
func (f *Fleet) TellAll() {
	for _, p := range f.Procs {
		p.Tell()
	}
}

// KillAll ends what is left.
func (f *Fleet) KillAll() {
	for _, p := range f.Procs {
		p.Killed = true
		_ = p.Cmd.Process.Kill() // may have ended
	}
}

// Forget drops a process that has ended.
func (f *Fleet) Forget(n int) {
	if p := f.Procs[n]; p != nil {
		_ = p.stdin.Close()
		delete(f.Procs, n)
	}
}

// Wait returns when nothing of the fleet runs any more; its events must have
// been taken.
func (f *Fleet) Wait() { f.wg.Wait() }

// Label names a process for people.
func (p *Process) Label() string {
	if p.ID == "" {
		return fmt.Sprintf("worker process %d", p.Cmd.Process.Pid)
	}
	return fmt.Sprintf("%s (process %d)", p.ID, p.Cmd.Process.Pid)
}
