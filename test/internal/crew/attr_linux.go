package crew

import "syscall"

// ChildAttr has the system end a worker when the runner dies in whatever way.
func ChildAttr() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
}
