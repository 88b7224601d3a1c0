package fleet

import "syscall"

// childAttr has the system end a worker when its parent dies in whatever way.
// (Strictly, when the thread that started it ends; Go keeps its threads.)
// Everywhere, the end of its standard input tells the worker the same.
func childAttr() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
}
