package testing

import (
	"fmt"
	"syscall"
)

// A port is a TCP port of 127.0.0.1 that nobody but a server of ours is given.
//
// A socket is bound to it and never listens. On Linux two sockets with
// SO_REUSEADDR, which Go's listeners have, may be bound to one port as long as
// neither listens, so the server can still listen there, while the kernel gives
// the port to nobody who asks for a free one. So a port is known before its
// server runs, which the routes of a cluster need, and stays free for it while
// the server is down.
type port struct {
	fd     int
	number int
}

func reservePort() (*port, error) {
	fd, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("reserve port: socket: %w", err)
	}
	number, err := bindLoopback(fd)
	if err != nil {
		_ = syscall.Close(fd)
		return nil, fmt.Errorf("reserve port: %w", err)
	}
	return &port{fd: fd, number: number}, nil
}

func bindLoopback(fd int) (int, error) {
	if err := syscall.SetsockoptInt(fd, syscall.SOL_SOCKET, syscall.SO_REUSEADDR, 1); err != nil {
		return 0, fmt.Errorf("reuse address: %w", err)
	}
	if err := syscall.Bind(fd, &syscall.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}); err != nil {
		return 0, fmt.Errorf("bind: %w", err)
	}
	sa, err := syscall.Getsockname(fd)
	if err != nil {
		return 0, fmt.Errorf("socket name: %w", err)
	}
	in4, ok := sa.(*syscall.SockaddrInet4)
	if !ok {
		return 0, fmt.Errorf("socket name: unexpected %T", sa)
	}
	return in4.Port, nil
}

func (p *port) release() { _ = syscall.Close(p.fd) }
