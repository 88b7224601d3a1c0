package main

import "syscall"

// childAttr has the system end a worker when its parent dies in whatever way.
// Everywhere, the end of its standard input tells the worker the same.
func childAttr() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
}
