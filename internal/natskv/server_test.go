package natskv_test

import (
	"context"
	"net"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats-server/v2/server/ats"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"go.uber.org/goleak"

	"github.com/arloliu/parti/internal/kvtest"
	"github.com/arloliu/parti/internal/natskv"
	"github.com/arloliu/parti/internal/onecpu"
)

func TestMain(m *testing.M) {
	onecpu.InRace()
	ats.Register() // the server's clock, which must not belong to a bubble
	goleak.VerifyTestMain(m, goleak.IgnoreTopFunction("github.com/nats-io/nats-server/v2/server/ats.Register.func1"))
}

// natsd is an embedded server that can be restarted at the same address.
type natsd struct {
	*server.Server
	opts *server.Options
}

// startServer starts a server with JetStream on a random port; change alters
// its options.
func startServer(t *testing.T, change func(o *server.Options)) *natsd {
	t.Helper()
	d := &natsd{opts: &server.Options{
		Host: "127.0.0.1", Port: -1, NoLog: true, NoSigs: true,
		JetStream: true, StoreDir: t.TempDir(),
	}}
	if change != nil {
		change(d.opts)
	}
	d.start(t)
	t.Cleanup(d.stop)
	return d
}

func (d *natsd) start(t *testing.T) {
	t.Helper()
	srv, err := server.NewServer(d.opts.Clone())
	if err != nil {
		t.Fatal(err)
	}
	srv.Start()
	if !srv.ReadyForConnections(20 * time.Second) {
		t.Fatal("the server does not start")
	}
	d.Server = srv
	d.opts.Port = srv.Addr().(*net.TCPAddr).Port
}

func (d *natsd) stop() {
	d.Shutdown()
	d.WaitForShutdown()
}

// connect returns a connection that reconnects at once and for ever.
func (d *natsd) connect(t *testing.T, opts ...nats.Option) jetstream.JetStream {
	t.Helper()
	nc, err := nats.Connect(d.ClientURL(), append([]nats.Option{
		nats.MaxReconnects(-1), nats.ReconnectWait(5 * time.Millisecond), nats.ReconnectJitter(0, 0),
		nats.ErrorHandler(func(*nats.Conn, *nats.Subscription, error) {}),
	}, opts...)...)
	if err != nil {
		t.Fatal(err)
	}
	closed := make(chan struct{})
	nc.SetClosedHandler(func(*nats.Conn) { close(closed) })
	t.Cleanup(func() { nc.Close(); <-closed })
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	return js
}

// config names four buckets.
func config() natskv.Config {
	return natskv.Config{Buckets: [natskv.Buckets]string{"ids", "election", "heartbeats", "assignments"}}
}

// within returns a context for what must not take long; only a failing test
// waits it out.
func within(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	t.Cleanup(cancel)
	return ctx
}

func open(t *testing.T, js jetstream.JetStream, cfg natskv.Config) *natskv.Store {
	t.Helper()
	s, err := natskv.Open(within(t), js, cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return s
}

func TestConformance(t *testing.T) {
	for _, storage := range []struct {
		name   string
		memory bool
	}{{"memory", true}, {"file", false}} {
		t.Run(storage.name, func(t *testing.T) {
			kvtest.Conformance(t, func(t *testing.T) kvtest.KV {
				t.Helper()
				d := startServer(t, nil)
				cfg := config()
				cfg.Memory = storage.memory
				return kvtest.Real{Store: open(t, d.connect(t), cfg)}
			})
		})
	}
}
