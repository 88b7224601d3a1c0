package bench

import (
	"errors"
	"io"
	"net"
	"sync"
)

// relay is the way of one worker to the server, which can be cut. A relay of its
// own for each worker: what happens to one connection is no news to the others.
type relay struct {
	server string // its address
	in     net.Listener
	wg     sync.WaitGroup

	mu    sync.Mutex
	cut   bool
	ended bool
	conns map[net.Conn]struct{}
}

// openRelay starts a relay to the server at an address.
func openRelay(server string) (*relay, error) {
	in, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	r := &relay{server: server, in: in, conns: make(map[net.Conn]struct{})}
	r.wg.Go(r.accept)
	return r, nil
}

func (r *relay) url() string { return "nats://" + r.in.Addr().String() }

func (r *relay) accept() {
	for {
		near, err := r.in.Accept()
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			continue
		}
		r.wg.Go(func() { r.carry(near) })
	}
}

// carry connects a client with the server until either is gone, or the relay is cut.
func (r *relay) carry(near net.Conn) {
	defer r.drop(near)
	if !r.keep(near) {
		return
	}
	far, err := net.Dial("tcp", r.server)
	if err != nil {
		return
	}
	defer r.drop(far)
	if !r.keep(far) {
		return
	}
	var back sync.WaitGroup
	back.Go(func() {
		_, _ = io.Copy(near, far) // either end is closed
		_ = near.Close()
	})
	_, _ = io.Copy(far, near)
	_ = far.Close()
	back.Wait()
}

// keep notes a connection, unless there may be none.
func (r *relay) keep(c net.Conn) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.cut || r.ended {
		return false
	}
	r.conns[c] = struct{}{}
	return true
}

func (r *relay) drop(c net.Conn) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.conns, c)
	_ = c.Close()
}

// set cuts the relay, so that connections break and none can be made, or mends it.
func (r *relay) set(cut bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.cut = cut; cut {
		r.breakAll()
	}
}

// breakAll is called with the lock held.
func (r *relay) breakAll() {
	for c := range r.conns {
		_ = c.Close()
	}
}

// close ends the relay for good.
func (r *relay) close() {
	r.mu.Lock()
	r.ended = true
	r.breakAll()
	r.mu.Unlock()
	_ = r.in.Close()
	r.wg.Wait()
}
