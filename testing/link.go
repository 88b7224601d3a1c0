package testing

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
)

// Link is the way of one client to its server or cluster, which the test can cut
// and heal without touching anybody else. Connections made with [Link.Connect],
// or by nats.Connect with [Link.Options], go over it. It works on sockets and in
// bubbles.
type Link struct {
	log      *Logger
	url      func() string
	connOpts []nats.Option
	dial     func(network, address string) (net.Conn, error)
	virtual  bool // the server has no socket: in a bubble

	mu      sync.Mutex
	mode    linkMode
	changed chan struct{} // closed and replaced when mode changes
	timeout time.Duration // of a dial into a black hole
	wires   map[*wire]struct{}
}

type linkMode int

const (
	linkUp linkMode = iota
	linkBlackhole
	linkCut
	linkClosed // for ever, the test is over
)

// NewLink returns a link to the server that is up. It ends with t.
func (s *Server) NewLink(t testing.TB) *Link {
	t.Helper()
	dial := net.Dial
	if s.opts.noListener {
		dial = func(string, string) (net.Conn, error) { return s.InProcessConn() }
	}
	l := newLink(t, s.log.log, s.URL, s.opts.connOpts, dial)
	l.virtual = s.opts.noListener
	return l
}

func newLink(t testing.TB, log *Logger, url func() string, connOpts []nats.Option,
	dial func(network, address string) (net.Conn, error),
) *Link {
	t.Helper()
	l := &Link{
		log: log, url: url, connOpts: connOpts, dial: dial,
		changed: make(chan struct{}), timeout: nats.DefaultTimeout, wires: map[*wire]struct{}{},
	}
	t.Cleanup(l.close)
	return l
}

// Connect returns a new connection over the link, closed when t ends, with the
// same defaults as [Server.Connect]. The link must be up.
func (l *Link) Connect(t testing.TB, opts ...nats.Option) *nats.Conn {
	t.Helper()
	nc := connect(t, l.url(), connOptions(l.log, l.connOpts, opts, l.Options()))
	// Closed before nc: a connection that dials into a black hole can only be
	// closed once that dial has ended.
	t.Cleanup(l.close)
	return nc
}

// Options returns what sends a connection made by nats.Connect over the link.
// Pass them last.
func (l *Link) Options() []nats.Option {
	return []nats.Option{func(o *nats.Options) error {
		l.mu.Lock()
		defer l.mu.Unlock()
		l.timeout = o.Timeout
		o.CustomDialer = l
		return nil
	}}
}

// URL returns the address to dial: the server's, or all of a cluster's.
func (l *Link) URL() string { return l.url() }

// Cut breaks the link: both ends of every connection see it closed, data under
// way is lost, and dialing is refused until Heal.
func (l *Link) Cut() { l.set(linkCut) }

// Blackhole makes the link swallow everything without a word, as a pulled cable
// does: connections stay open on both sides, nothing arrives in either
// direction, not even the end of a connection, and dialing ends in a timeout.
// Heal delivers what was sent meanwhile, as TCP would by sending again, from
// connections closed since too; Cut loses it. Up to 256 KiB are held for each
// direction, then writes block.
func (l *Link) Blackhole() { l.set(linkBlackhole) }

// Heal makes the link work again.
func (l *Link) Heal() { l.set(linkUp) }

func (l *Link) close() { l.set(linkClosed) }

func (l *Link) set(m linkMode) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.mode == m || l.mode == linkClosed {
		return
	}
	l.mode = m
	close(l.changed)
	l.changed = make(chan struct{})
	for w := range l.wires {
		w.apply(m)
	}
}

var errLinkClosed = errors.New("link closed: the test is over")

// Dial makes Link a nats.CustomDialer.
func (l *Link) Dial(network, address string) (net.Conn, error) {
	fail := func(err error) (net.Conn, error) {
		return nil, &net.OpError{Op: "dial", Net: network, Err: fmt.Errorf("%s: %w", address, err)}
	}
	l.mu.Lock()
	ctx, cancel := context.WithTimeout(context.Background(), l.timeout)
	l.mu.Unlock()
	defer cancel()
	for {
		l.mu.Lock()
		mode, changed := l.mode, l.changed
		l.mu.Unlock()
		switch mode {
		case linkClosed:
			return fail(errLinkClosed)
		case linkCut:
			return fail(syscall.ECONNREFUSED)
		case linkBlackhole:
			if l.virtual {
				// A connection that reconnects holds its lock while it dials.
				// In a bubble, whoever waits for the lock would stop the time
				// that the dial waits for.
				return fail(os.ErrDeadlineExceeded)
			}
			select {
			case <-changed:
				continue
			case <-ctx.Done():
				return fail(os.ErrDeadlineExceeded)
			}
		case linkUp:
		}
		server, err := l.dial(network, address)
		if err != nil {
			return nil, err
		}
		return l.add(server), nil
	}
}

// add puts a wire before the connection to the server and returns the client's
// end of it.
func (l *Link) add(server net.Conn) net.Conn {
	client, w := newWire(server)
	l.mu.Lock()
	w.apply(l.mode)
	l.wires[w] = struct{}{}
	l.mu.Unlock()
	w.run(func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		delete(l.wires, w)
	})
	return client
}
