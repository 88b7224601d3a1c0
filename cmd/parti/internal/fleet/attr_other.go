//go:build !linux

package fleet

import "syscall"

// childAttr is nothing special: the end of its standard input tells a worker
// that its parent is gone.
func childAttr() *syscall.SysProcAttr { return nil }
