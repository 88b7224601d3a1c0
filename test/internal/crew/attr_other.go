//go:build !linux

package crew

import "syscall"

// ChildAttr is nothing special: the end of its standard input ends a worker.
func ChildAttr() *syscall.SysProcAttr { return nil }
