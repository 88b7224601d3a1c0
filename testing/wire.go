package testing

import (
	"net"
	"sync"
)

// wireBuffer is what a direction holds before its writer blocks, about what the
// kernel holds for a TCP connection.
const wireBuffer = 256 << 10

// wire carries one connection of a [Link]: client end ⇄ far | up, down | server.
// Four goroutines pump, two per direction, so that what was written before or
// during a black hole is held, in order, apart from both ends.
type wire struct {
	far      net.Conn // our end of the pipe to the client
	server   net.Conn
	up, down *flow
}

// newWire returns the client's end and the wire, which is idle until run.
func newWire(server net.Conn) (net.Conn, *wire) {
	client, far := net.Pipe()
	return client, &wire{far: far, server: server, up: newFlow(), down: newFlow()}
}

// run starts to pump and calls done when the last pump has ended.
func (w *wire) run(done func()) {
	var wg sync.WaitGroup
	wg.Go(func() { w.up.fill(w.far) })
	wg.Go(func() { w.up.drain(w.server) })
	wg.Go(func() { w.down.fill(w.server) })
	wg.Go(func() { w.down.drain(w.far) })
	go func() { // ends with the pumps, which end with the link
		wg.Wait()
		done()
	}()
}

func (w *wire) apply(m linkMode) {
	switch m {
	case linkUp, linkBlackhole:
		w.up.hold(m == linkBlackhole)
		w.down.hold(m == linkBlackhole)
	case linkCut, linkClosed:
		w.up.kill()
		w.down.kill()
		// Not left to the pumps: one may be stuck writing to an end that does
		// not read.
		_ = w.far.Close()
		_ = w.server.Close()
	}
}

// flow is one direction: a bounded queue that can be held.
type flow struct {
	mu   sync.Mutex
	cond sync.Cond
	buf  []byte
	held bool // nothing comes out, not even the end
	end  bool // the writer has closed
	dead bool // nothing is taken or given any more
}

func newFlow() *flow {
	f := &flow{}
	f.cond.L = &f.mu
	return f
}

func (f *flow) hold(held bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.held = held
	f.cond.Broadcast()
}

func (f *flow) kill() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.dead, f.buf = true, nil
	f.cond.Broadcast()
}

// fill moves what src sends into the queue until src ends.
func (f *flow) fill(src net.Conn) {
	b := make([]byte, 32<<10)
	for {
		n, err := src.Read(b)
		f.mu.Lock()
		for !f.dead && len(f.buf) >= wireBuffer {
			f.cond.Wait()
		}
		if !f.dead {
			f.buf = append(f.buf, b[:n]...)
			f.end = err != nil
		}
		f.cond.Broadcast()
		f.mu.Unlock()
		if err != nil {
			return
		}
	}
}

// drain moves what is in the queue to dst, and closes dst when the other end
// has closed and all has been delivered, or the flow is dead.
func (f *flow) drain(dst net.Conn) {
	defer f.kill()
	defer dst.Close()
	var b []byte
	for {
		var ok bool
		if b, ok = f.take(b[:0]); !ok {
			return
		}
		if _, err := dst.Write(b); err != nil {
			return
		}
	}
}

// take waits for data that may come out and appends it to b.
func (f *flow) take(b []byte) ([]byte, bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for !f.dead && (f.held || len(f.buf) == 0 && !f.end) {
		f.cond.Wait()
	}
	if f.dead || len(f.buf) == 0 {
		return nil, false
	}
	b, f.buf = append(b, f.buf...), f.buf[:0]
	f.cond.Broadcast()
	return b, true
}
