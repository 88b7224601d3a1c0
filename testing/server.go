package testing

import (
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
)

// startTimeout bounds the start of a server, or the election of a cluster's
// leader, on a machine that is busy with other tests.
const startTimeout = 30 * time.Second

var errServerDown = errors.New("embedded server is down")

// Server is an embedded NATS server whose life the test controls. Its methods
// may be called from any goroutine, but those that can fail the test (Connect,
// NewLink, Reload, Restart, RestartEmpty) only from one that may call t.FailNow.
type Server struct {
	t    testing.TB
	name string
	opts options
	dir  string
	port *port // nil without a listener
	log  *serverLog

	mu      sync.Mutex     // serializes stopping and starting
	current *server.Server // nil while down
	running sync.RWMutex   // guards current for readers that must not wait for a stop
}

// StartEmbeddedNATS starts a NATS server with JetStream in this process and
// returns a connection to it. The server listens on a free port of 127.0.0.1,
// keeps its data in a temporary directory, and is stopped when the test ends,
// after the connection has been closed. Use [StartServer] to get hold of the
// server itself.
func StartEmbeddedNATS(t testing.TB, opts ...Option) *nats.Conn {
	t.Helper()
	return StartServer(t, opts...).Connect(t)
}

// StartServer starts a NATS server like [StartEmbeddedNATS] and returns it, for
// tests that stop and restart it or cut single connections.
func StartServer(t testing.TB, opts ...Option) *Server {
	t.Helper()
	s := newServer(t, "server", opts)
	if err := s.start(); err != nil {
		t.Fatalf("start embedded NATS: %v", err)
	}
	return s
}

// newServer prepares a server and registers its end, without starting it.
func newServer(t testing.TB, name string, opts []Option) *Server {
	t.Helper()
	s := &Server{t: t, name: name, log: &serverLog{log: NewLogger(t), name: name}}
	for _, o := range opts {
		o(&s.opts)
	}
	s.dir = s.opts.storeDir
	if s.dir == "" && !s.opts.noJetStream {
		s.dir = t.TempDir()
	}
	if !s.opts.noListener {
		p, err := reservePort()
		if err != nil {
			t.Fatalf("start embedded NATS: %v", err)
		}
		s.port = p
		t.Cleanup(p.release)
	}
	t.Cleanup(s.Shutdown)
	return s
}

// start starts the server and waits until it is ready.
func (s *Server) start() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.get() != nil {
		return nil
	}
	srv, err := server.NewServer(s.serverOptions())
	if err != nil {
		return fmt.Errorf("configure server: %w", err)
	}
	srv.SetLoggerV2(s.log, false, false, false)
	srv.Start() // returns once it listens
	if cause := s.log.cause(); cause != "" || !srv.ReadyForConnections(startTimeout) {
		srv.Shutdown()
		srv.WaitForShutdown()
		return fmt.Errorf("start server: not ready: %s", cause)
	}
	s.set(srv)
	return nil
}

func (s *Server) serverOptions() *server.Options {
	o := &server.Options{
		ServerName:             s.name,
		Host:                   "127.0.0.1",
		DontListen:             s.opts.noListener,
		NoSigs:                 true,
		DisableJetStreamBanner: true,
		JetStream:              !s.opts.noJetStream,
		StoreDir:               s.dir,
		// Given, these are limits; left out, the server asks the system for its
		// memory and disk at every start.
		JetStreamMaxMemory: 1 << 30,
		JetStreamMaxStore:  16 << 30,
	}
	if s.port != nil {
		o.Port = s.port.number
	}
	if s.opts.clusterRoute != nil {
		s.opts.clusterRoute(o)
	}
	for _, f := range s.opts.serverOpts {
		f(o)
	}
	return o
}

func (s *Server) get() *server.Server {
	s.running.RLock()
	defer s.running.RUnlock()
	return s.current
}

func (s *Server) set(srv *server.Server) {
	s.running.Lock()
	defer s.running.Unlock()
	s.current = srv
}

// URL returns where the server listens, also while it is down. Without a
// listener it is an address that nobody can dial.
func (s *Server) URL() string {
	if srv := s.get(); srv != nil && !s.opts.noListener {
		return srv.ClientURL()
	}
	n := server.DEFAULT_PORT
	if s.port != nil {
		n = s.port.number
	}
	return "nats://" + net.JoinHostPort("127.0.0.1", strconv.Itoa(n))
}

// Name returns the name the server goes by in a cluster.
func (s *Server) Name() string { return s.name }

// Running reports whether the server runs.
func (s *Server) Running() bool { return s.get() != nil }

// NumClients returns how many connections the server believes to have, among
// them those that a black hole has swallowed.
func (s *Server) NumClients() int {
	if srv := s.get(); srv != nil {
		return srv.NumClients()
	}
	return 0
}

// StoreDir returns the directory with the server's data.
func (s *Server) StoreDir() string { return s.dir }

// Connect returns a new connection, closed when t ends. It reconnects for ever
// and, unlike plain nats.Connect, within 50 ms; opts come later and win.
func (s *Server) Connect(t testing.TB, opts ...nats.Option) *nats.Conn {
	t.Helper()
	all := connOptions(s.log.log, s.opts.connOpts, opts)
	if s.opts.noListener {
		all = append(all, nats.InProcessServer(s))
	}
	return connect(t, s.URL(), all)
}

// connect makes the connection and has it closed at the end of the test.
func connect(t testing.TB, url string, opts []nats.Option) *nats.Conn {
	t.Helper()
	nc, err := nats.Connect(url, opts...)
	if err != nil {
		t.Fatalf("connect to embedded NATS at %s: %v", url, err)
	}
	t.Cleanup(nc.Close)
	return nc
}

// connOptions are the defaults of connections made here, then the groups.
func connOptions(log *Logger, groups ...[]nats.Option) []nats.Option {
	all := []nats.Option{
		nats.MaxReconnects(-1),
		nats.ReconnectWait(50 * time.Millisecond),
		nats.ReconnectJitter(0, 0),
		nats.ErrorHandler(func(_ *nats.Conn, sub *nats.Subscription, err error) {
			subject := ""
			if sub != nil {
				subject = sub.Subject
			}
			log.Warn("nats connection", "subject", subject, "error", err)
		}),
	}
	for _, g := range groups {
		all = append(all, g...)
	}
	return all
}

// InProcessConn makes Server a nats.InProcessConnProvider: pass
// nats.InProcessServer(s) to nats.Connect to reach it without a socket, over
// restarts too.
func (s *Server) InProcessConn() (net.Conn, error) {
	srv := s.get()
	if srv == nil {
		return nil, fmt.Errorf("connect to %s: %w", s.name, errServerDown)
	}
	return srv.InProcessConn()
}

// Shutdown stops the server and returns when it has stopped: connections are
// closed, data is on disk. It does nothing when the server is down.
func (s *Server) Shutdown() {
	s.mu.Lock()
	defer s.mu.Unlock()
	srv := s.get()
	if srv == nil {
		return
	}
	s.set(nil)
	srv.Shutdown()
	srv.WaitForShutdown()
}

// Restart shuts the server down, if it runs, and starts it again on the same
// port with the same data. Memory streams are lost.
func (s *Server) Restart() {
	s.t.Helper()
	s.Shutdown()
	if err := s.start(); err != nil {
		s.t.Fatalf("restart embedded NATS: %v", err)
	}
}

// Reload has the running server take over what change makes of its options, as a
// reload of its configuration does: rights of users, for one. A later Restart keeps
// it. Not every option can be changed in a running server.
func (s *Server) Reload(change func(*server.Options)) {
	s.t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.opts.serverOpts = append(s.opts.serverOpts, change)
	srv := s.get()
	if srv == nil {
		return
	}
	if err := srv.ReloadOptions(s.serverOptions()); err != nil {
		s.t.Fatalf("reload embedded NATS: %v", err)
	}
}

// RestartEmpty is Restart with all data lost, as on a new disk.
func (s *Server) RestartEmpty() {
	s.t.Helper()
	s.Shutdown()
	if err := removeContents(s.dir); err != nil {
		s.t.Fatalf("restart embedded NATS: %v", err)
	}
	s.Restart()
}

func removeContents(dir string) error {
	if dir == "" {
		return nil
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return fmt.Errorf("empty store: %w", err)
	}
	for _, e := range entries {
		if err := os.RemoveAll(filepath.Join(dir, e.Name())); err != nil {
			return fmt.Errorf("empty store: %w", err)
		}
	}
	return nil
}
