//go:build !linux

package soak

import "syscall"

// childAttr is nothing special: the end of its standard input ends a worker.
func childAttr() *syscall.SysProcAttr { return nil }
