//go:build !linux

package testing

import (
	"fmt"
	"net"
)

// A port is a TCP port of 127.0.0.1 that was free a moment ago. Only Linux has a
// portable way to keep it so, see ports_linux.go.
type port struct{ number int }

func reservePort() (*port, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("reserve port: %w", err)
	}
	defer l.Close()
	return &port{number: l.Addr().(*net.TCPAddr).Port}, nil
}

func (p *port) release() {}
