package parti

import (
	"fmt"
	"time"

	"github.com/nats-io/nats.go"
)

// NATSOptions returns the connection options that suit a worker. Put your own
// options after them:
//
//	nc, err := nats.Connect(url, append(parti.NATSOptions(), nats.UserCredentials(file))...)
//
// They are:
//   - a reconnect wait of 250 ms with 50 ms of jitter (100 ms with TLS). A worker
//     whose connection is gone is believed dead only when a reconnect would have
//     succeeded, so this wait is part of the time to recover from a crash. The
//     default of NATS, 2 s and up to 1 s of jitter, costs up to 3 s more.
//   - endless reconnects. By default a connection gives a server up after 60
//     failures, some two minutes, and the worker stays cut off for good.
//   - a ping every 2 s, and a dead connection after 2 unanswered ones, that is
//     within 6 s. By default a cut that closes no socket is noticed after 6
//     minutes, and until then the connection moves to no other server.
//   - no buffer for what is published while disconnected. By default it is sent
//     after the reconnect, although its sender was told that it failed long ago.
//     parti's own writes are guarded against that; yours may not be.
//
// The first connect still fails at once when no server can be reached. Add
// nats.RetryOnFailedConnect(true) to go on trying; Manager.Start then waits for
// the connection up to Config.StartupTimeout, and a wrong address shows only as
// its failure.
func NATSOptions() []nats.Option {
	return []nats.Option{
		nats.ReconnectWait(250 * time.Millisecond),
		nats.ReconnectJitter(50*time.Millisecond, 100*time.Millisecond),
		nats.MaxReconnects(-1),
		nats.PingInterval(2 * time.Second),
		nats.MaxPingsOutstanding(2),
		nats.ReconnectBufSize(-1),
	}
}

// reconnectAllowance is how long a reconnect of the connection may take by its
// own options, once a server can be reached: what the leader waits before it
// believes that a worker is dead whose connection is gone.
func reconnectAllowance(nc *nats.Conn, heartbeatTTL time.Duration) time.Duration {
	o := &nc.Opts
	switch {
	case !o.AllowReconnect:
		return 0
	case o.CustomReconnectDelayCB != nil, o.ReconnectToServerCB != nil:
		return heartbeatTTL // the delay is the user's secret
	}
	allowance := o.ReconnectWait + reconnectJitter(o)
	if len(nc.Servers()) > 1 {
		// The one tried first may be the one that is gone.
		allowance += o.Timeout
	}
	return allowance
}

// reconnectJitter chooses between the jitters for plain and TLS connections as
// nats.go does. Ask while connected: the first connect may switch Secure on.
func reconnectJitter(o *nats.Options) time.Duration {
	if o.Secure || o.TLSConfig != nil {
		return o.ReconnectJitterTLS
	}
	return o.ReconnectJitter
}

// slowestPing is how late a dead connection may be noticed without a warning.
const slowestPing = 30 * time.Second

// connectionWarnings tells which options of the connection hurt a worker, for
// the manager to log. Each names the option and what to do.
func connectionWarnings(nc *nats.Conn) []string {
	const remedy = "; parti.NATSOptions sets it"
	o := &nc.Opts
	var w []string
	switch {
	case !o.AllowReconnect:
		w = append(w, "the NATS connection does not reconnect: once lost, this worker is cut off for good; leave out nats.NoReconnect")
	case o.MaxReconnect >= 0:
		w = append(w, fmt.Sprintf("the NATS connection gives a server up after %d failed reconnects, and this worker is then cut off for good: use nats.MaxReconnects(-1)"+remedy,
			o.MaxReconnect))
	}
	if o.PingInterval <= 0 {
		w = append(w, "the NATS connection sends no pings, so that a cut that closes no socket is never noticed: use nats.PingInterval(2 * time.Second)"+remedy)
	} else if late := o.PingInterval * time.Duration(o.MaxPingsOut+1); late > slowestPing {
		w = append(w, fmt.Sprintf("the NATS connection notices a cut that closes no socket only after %v (PingInterval %v, MaxPingsOutstanding %d): use nats.PingInterval(2 * time.Second)"+remedy,
			late, o.PingInterval, o.MaxPingsOut))
	}
	if o.AllowReconnect && o.ReconnectBufSize >= 0 {
		w = append(w, "the NATS connection keeps what is published while disconnected and sends it after the reconnect, long after it was reported as failed: use nats.ReconnectBufSize(-1)"+remedy)
	}
	return w
}
