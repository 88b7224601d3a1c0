package guidecheck

import (
	"os"
	"path/filepath"
	"regexp"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/arloliu/parti"
	"github.com/arloliu/parti/source"
	"github.com/arloliu/parti/strategy"
)

// A worker has enough with the rights that the operator's manual gives it, once
// the buckets are there.
func TestDocumentedPermissionsSuffice(t *testing.T) {
	block := regexp.MustCompile("(?s)<!-- permissions -->\n```\n(.*?)```").FindStringSubmatch(readFile(t, "docs/OPERATIONS.md"))
	if block == nil {
		t.Fatal("docs/OPERATIONS.md has no permissions")
	}
	file := filepath.Join(t.TempDir(), "nats.conf")
	if err := os.WriteFile(file, []byte(block[1]), 0o600); err != nil {
		t.Fatal(err)
	}
	opts, err := server.ProcessConfigFile(file)
	if err != nil {
		t.Fatal(err)
	}
	opts.Host, opts.Port = "127.0.0.1", server.RANDOM_PORT
	opts.JetStream, opts.StoreDir = true, t.TempDir()
	opts.NoLog, opts.NoSigs = true, true
	s, err := server.NewServer(opts)
	if err != nil {
		t.Fatal(err)
	}
	s.Start()
	t.Cleanup(func() { s.Shutdown(); s.WaitForShutdown() })
	if !s.ReadyForConnections(10 * time.Second) {
		t.Fatal("the server does not start")
	}

	admin := connectAs(t, s, nats.UserInfo("admin", "change-me"))
	startAndStop(t, admin) // creates the buckets

	worker := []nats.Option{
		nats.UserInfo("worker", "change-me-too"),
		nats.CustomInboxPrefix("_INBOX_worker"),
		nats.ErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) { t.Errorf("NATS: %v", err) }),
	}
	startAndStop(t, connectAs(t, s, worker...))
}

func connectAs(t *testing.T, s *server.Server, opts ...nats.Option) jetstream.JetStream {
	t.Helper()
	nc, err := nats.Connect(s.ClientURL(), append(parti.NATSOptions(), opts...)...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	return js
}

func startAndStop(t *testing.T, js jetstream.JetStream) {
	t.Helper()
	src := source.NewStatic([]parti.Partition{{Keys: []string{"0"}}, {Keys: []string{"1"}}, {Keys: []string{"2"}}})
	mgr, err := parti.NewManager(&parti.Config{}, js, src, strategy.NewConsistentHash())
	if err != nil {
		t.Fatal(err)
	}
	if err := mgr.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	if n := len(mgr.CurrentAssignment().Partitions); n != 3 {
		t.Errorf("owns %d partitions of 3", n)
	}
	if err := mgr.Stop(t.Context()); err != nil {
		t.Error(err)
	}
}
