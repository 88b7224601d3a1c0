package parti

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/arloliu/parti/internal/core"
)

// connection is what the shell needs of the NATS connection. All its methods
// may block while nats.go dials, so the loop calls none of them.
type connection interface {
	Status() nats.Status
	StatusChanged(...nats.Status) chan nats.Status
	RemoveStatusListener(chan nats.Status)
	serverID() string
	allowance() time.Duration // how long a reconnect may take
	maxPayload() int          // bytes that a message may have
	warnings() []string       // what is unwise about its options
}

// natsConn is the connection of nats.go.
type natsConn struct {
	*nats.Conn
	heartbeatTTL time.Duration
}

func (c natsConn) serverID() string         { return c.ConnectedServerId() }
func (c natsConn) allowance() time.Duration { return reconnectAllowance(c.Conn, c.heartbeatTTL) }
func (c natsConn) maxPayload() int          { return int(c.MaxPayload()) }
func (c natsConn) warnings() []string       { return connectionWarnings(c.Conn) }

// connWatch tells the core about the connection, beside the handlers that the
// application may have set.
type connWatch struct {
	conn connection
	post func(core.Event)
	saw  func(nats.Status) // may be nil

	once   sync.Once
	first  chan struct{} // closed when the connection has been seen up, or closed
	closed bool          // written before first is closed
}

func newConnWatch(c connection, post func(core.Event)) *connWatch {
	return &connWatch{conn: c, post: post, first: make(chan struct{})}
}

// run follows the status until ctx ends.
func (w *connWatch) run(ctx context.Context) {
	changes := w.conn.StatusChanged(nats.CONNECTED, nats.RECONNECTING, nats.DISCONNECTED, nats.CLOSED)
	defer w.conn.RemoveStatusListener(changes)
	w.tell(w.conn.Status())
	for {
		select {
		case s := <-changes:
			w.tell(s)
			if len(changes) == 0 {
				// The channel drops what finds it full: the last word counts.
				if now := w.conn.Status(); now != s && len(changes) == 0 {
					w.tell(now)
				}
			}
		case <-ctx.Done():
			return
		}
	}
}

func (w *connWatch) tell(s nats.Status) {
	if w.saw != nil {
		w.saw(s)
	}
	if s == nats.CONNECTED {
		w.post(core.Connected{Server: w.conn.serverID(), Allowance: w.conn.allowance(), MaxPayload: w.conn.maxPayload()})
		w.once.Do(func() { close(w.first) })
		return
	}
	w.post(core.Disconnected{})
	if s == nats.CLOSED {
		w.once.Do(func() { w.closed = true; close(w.first) })
	}
}

// awaitUp returns when the connection has been up.
func (w *connWatch) awaitUp(ctx context.Context) error {
	select {
	case <-w.first:
	case <-ctx.Done():
		return fmt.Errorf("%w: not connected in time: %w", ErrNATSConnectionLost, ctxErr(ctx))
	}
	if w.closed {
		return fmt.Errorf("%w: the connection is closed: pass a new one", ErrNATSConnectionLost)
	}
	return nil
}
