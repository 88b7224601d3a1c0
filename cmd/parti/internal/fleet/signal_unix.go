//go:build unix

package fleet

import (
	"fmt"
	"syscall"
)

// Pause stops a process where it is, with SIGSTOP: its connections stay open, and
// it answers nothing.
func (p *Process) Pause() error { return p.signal(syscall.SIGSTOP) }

// Resume lets a paused process go on.
func (p *Process) Resume() error { return p.signal(syscall.SIGCONT) }

// Reload tells a process, with SIGHUP, that what it was configured with has changed.
func (p *Process) Reload() error { return p.signal(syscall.SIGHUP) }

// Terminate asks a process to end by SIGTERM.
func (p *Process) Terminate() error {
	p.told = true
	return p.signal(syscall.SIGTERM)
}

func (p *Process) signal(s syscall.Signal) error {
	if err := p.Cmd.Process.Signal(s); err != nil {
		return fmt.Errorf("send %s to process %d: %w", s, p.Cmd.Process.Pid, err)
	}
	return nil
}
