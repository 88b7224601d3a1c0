package main

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

// workerCommand is the hidden command that a worker process runs.
const workerCommand = "demo-worker"

// fleet starts worker processes of this very binary and passes on what they
// say. It is used by one goroutine, which must take its events until every
// process has ended.
type fleet struct {
	spec   workerSpec
	events chan fleetEvent
	procs  map[int]*process
	n      int
	wg     sync.WaitGroup
}

// fleetEvent is a report of a process, a line of its standard error, or its end.
type fleetEvent struct {
	proc   int
	report *report
	stderr string
	ended  bool
	err    error // how it ended
}

// process is one worker process.
type process struct {
	n     int // counted from 1, in the order of starting
	cmd   *exec.Cmd
	stdin io.WriteCloser
	id    string // worker id, once known
	// killed and told say why it is going to end.
	killed, told bool
}

func newFleet(spec workerSpec) *fleet {
	return &fleet{spec: spec, events: make(chan fleetEvent, 256), procs: make(map[int]*process)}
}

// start starts one more worker.
func (f *fleet) start() (*process, error) {
	exe, err := os.Executable()
	if err != nil {
		return nil, fmt.Errorf("start worker: %w", err)
	}
	spec, err := json.Marshal(f.spec)
	if err != nil {
		return nil, fmt.Errorf("start worker: %w", err)
	}
	cmd := exec.Command(exe, workerCommand) //nolint:gosec // this binary
	cmd.SysProcAttr = childAttr()
	stdin, err := cmd.StdinPipe()
	if err != nil {
		return nil, fmt.Errorf("start worker: %w", err)
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		return nil, fmt.Errorf("start worker: %w", err)
	}
	stderr, err := cmd.StderrPipe()
	if err != nil {
		return nil, fmt.Errorf("start worker: %w", err)
	}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("start worker: %w", err)
	}
	f.n++
	p := &process{n: f.n, cmd: cmd, stdin: stdin}
	f.procs[p.n] = p
	f.wg.Go(func() {
		// A worker that ends before it has read its specification shows in how
		// it ended.
		_, _ = io.Copy(stdin, bytes.NewReader(spec))
		f.follow(p.n, cmd, stdout, stderr)
	})
	return p, nil
}

// follow passes on what a process writes, until it has ended.
func (f *fleet) follow(n int, cmd *exec.Cmd, stdout, stderr io.Reader) {
	var pipes sync.WaitGroup
	pipes.Go(func() {
		eachLine(stdout, func(line []byte) {
			var r report
			if err := json.Unmarshal(line, &r); err != nil {
				f.events <- fleetEvent{proc: n, stderr: string(line)}
				return
			}
			f.events <- fleetEvent{proc: n, report: &r}
		})
	})
	pipes.Go(func() {
		eachLine(stderr, func(line []byte) { f.events <- fleetEvent{proc: n, stderr: string(line)} })
	})
	pipes.Wait() // Wait closes the pipes, so only when both have been read
	f.events <- fleetEvent{proc: n, ended: true, err: cmd.Wait()}
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

// kill ends a process with SIGKILL: it has no chance to say or finish anything.
func (f *fleet) kill(p *process) error {
	p.killed = true
	if err := p.cmd.Process.Kill(); err != nil {
		return fmt.Errorf("kill worker %d: %w", p.cmd.Process.Pid, err)
	}
	return nil
}

// tell asks every process to leave the fleet and end.
func (f *fleet) tell() {
	for _, p := range f.procs {
		if !p.told {
			p.told = true
			_ = p.stdin.Close() // may be gone already
		}
	}
}

// killAll ends what is left.
func (f *fleet) killAll() {
	for _, p := range f.procs {
		p.killed = true
		_ = p.cmd.Process.Kill() // may have ended
	}
}

// forget drops a process that has ended.
func (f *fleet) forget(n int) {
	if p := f.procs[n]; p != nil {
		_ = p.stdin.Close()
		delete(f.procs, n)
	}
}

// label names a process for people.
func (p *process) label() string {
	if p.id == "" {
		return fmt.Sprintf("worker process %d", p.cmd.Process.Pid)
	}
	return fmt.Sprintf("%s (process %d)", p.id, p.cmd.Process.Pid)
}
