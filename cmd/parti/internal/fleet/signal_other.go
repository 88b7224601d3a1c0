//go:build !unix

package fleet

import "errors"

// Pause needs a system with SIGSTOP.
func (p *Process) Pause() error { return errors.ErrUnsupported }

// Resume needs a system with SIGCONT.
func (p *Process) Resume() error { return errors.ErrUnsupported }

// Reload needs a system with SIGHUP.
func (p *Process) Reload() error { return errors.ErrUnsupported }

// Terminate asks a process to end, by the end of its standard input.
func (p *Process) Terminate() error {
	p.Tell()
	return nil
}
