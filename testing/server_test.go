package testing_test

import (
	"context"
	"errors"
	"os"
	"slices"
	"strconv"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	partitest "github.com/arloliu/parti/testing"
)

// bucket opens, or makes, a bucket on nc.
func bucket(t testing.TB, nc *nats.Conn, storage jetstream.StorageType) jetstream.KeyValue {
	t.Helper()
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	kv, err := js.CreateOrUpdateKeyValue(t.Context(), jetstream.KeyValueConfig{Bucket: "b", Storage: storage})
	if err != nil {
		t.Fatal(err)
	}
	return kv
}

func put(t testing.TB, kv jetstream.KeyValue, key string) {
	t.Helper()
	if _, err := kv.Put(t.Context(), key, []byte(key)); err != nil {
		t.Fatal(err)
	}
}

// events returns options that send to the channels when the connection is lost
// and found again.
func events() (lost, found chan struct{}, opt nats.Option) {
	lost, found = make(chan struct{}, 100), make(chan struct{}, 100)
	return lost, found, func(o *nats.Options) error {
		o.DisconnectedErrCB = func(*nats.Conn, error) { lost <- struct{}{} }
		o.ReconnectedCB = func(*nats.Conn) { found <- struct{}{} }
		return nil
	}
}

func TestEmbeddedNATSHasJetStream(t *testing.T) {
	kv := bucket(t, partitest.StartEmbeddedNATS(t), jetstream.FileStorage)
	put(t, kv, "k")
}

func TestServersDoNotShareAnything(t *testing.T) {
	a, b := partitest.StartServer(t), partitest.StartServer(t)
	if a.URL() == b.URL() || a.StoreDir() == b.StoreDir() {
		t.Fatalf("two servers at %s in %s and %s in %s", a.URL(), a.StoreDir(), b.URL(), b.StoreDir())
	}
	put(t, bucket(t, a.Connect(t), jetstream.FileStorage), "k")
	if _, err := bucket(t, b.Connect(t), jetstream.FileStorage).Get(t.Context(), "k"); !errors.Is(err, jetstream.ErrKeyNotFound) {
		t.Fatalf("the other server knows the key: %v", err)
	}
}

func TestServerEndsWithTheTest(t *testing.T) {
	var srv *partitest.Server
	var nc *nats.Conn
	var order []string
	t.Run("inner", func(t *testing.T) {
		srv = partitest.StartServer(t)
		t.Cleanup(func() { // after the connection's cleanup, before the server's
			if nc.IsClosed() {
				order = append(order, "connection")
			}
			if srv.Running() {
				order = append(order, "server still up")
			}
		})
		nc = srv.Connect(t)
	})
	if srv.Running() || len(order) != 2 {
		t.Fatalf("running: %v, order of the end: %v", srv.Running(), order)
	}
	if _, err := nats.Connect(srv.URL()); !errors.Is(err, nats.ErrNoServers) {
		t.Fatalf("somebody still listens: %v", err)
	}
}

func TestWithoutJetStream(t *testing.T) {
	js, err := jetstream.New(partitest.StartEmbeddedNATS(t, partitest.WithoutJetStream()))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := js.AccountInfo(t.Context()); !errors.Is(err, jetstream.ErrJetStreamNotEnabled) {
		t.Fatalf("want ErrJetStreamNotEnabled, got %v", err)
	}
}

func TestWithOptions(t *testing.T) {
	dir := t.TempDir()
	nc := partitest.StartEmbeddedNATS(t,
		partitest.WithStoreDir(dir),
		partitest.WithConnOptions(nats.Name("mine")),
		partitest.WithServerOptions(func(o *server.Options) { o.MaxPayload = 1234 }),
	)
	put(t, bucket(t, nc, jetstream.FileStorage), "k")
	if nc.Opts.Name != "mine" || nc.MaxPayload() != 1234 {
		t.Fatalf("name %q, max payload %d", nc.Opts.Name, nc.MaxPayload())
	}
	if entries, err := os.ReadDir(dir); err != nil || len(entries) == 0 {
		t.Fatalf("nothing stored in the given directory: %v, %v", entries, err)
	}
}

func TestConnectOptionsComeLast(t *testing.T) {
	srv := partitest.StartServer(t, partitest.WithConnOptions(nats.Name("server's")))
	if nc := srv.Connect(t, nats.Name("own")); nc.Opts.Name != "own" {
		t.Fatalf("name %q", nc.Opts.Name)
	}
}

func TestRestartKeepsPortAndData(t *testing.T) {
	srv := partitest.StartServer(t)
	lost, found, opt := events()
	nc := srv.Connect(t, opt)
	kv := bucket(t, nc, jetstream.FileStorage)
	put(t, kv, "k")
	url := srv.URL()

	srv.Shutdown()
	<-lost
	srv.Shutdown() // again, to no effect
	if srv.Running() || srv.URL() != url {
		t.Fatalf("running %v at %s, was at %s", srv.Running(), srv.URL(), url)
	}
	srv.Restart()
	<-found
	if srv.URL() != url {
		t.Fatalf("was at %s, now at %s", url, srv.URL())
	}
	if _, err := kv.Get(t.Context(), "k"); err != nil {
		t.Fatalf("data lost: %v", err)
	}

	srv.RestartEmpty()
	<-found
	if _, err := kv.Get(t.Context(), "k"); !errors.Is(err, nats.ErrNoResponders) {
		t.Fatalf("data survived: %v", err)
	}
}

func TestRestartLosesMemoryStreams(t *testing.T) {
	srv := partitest.StartServer(t)
	_, found, opt := events()
	kv := bucket(t, srv.Connect(t, opt), jetstream.MemoryStorage)
	put(t, kv, "k")
	srv.Restart()
	<-found
	if _, err := kv.Get(t.Context(), "k"); err == nil {
		t.Fatal("a memory bucket survived")
	}
}

func TestStartFailureSaysWhy(t *testing.T) {
	taken := partitest.StartServer(t)
	r := &recorder{TB: t}
	r.run(func() {
		partitest.StartServer(r, partitest.WithServerOptions(func(o *server.Options) {
			var port int
			if _, err := sscanPort(taken.URL(), &port); err != nil {
				t.Error(err)
			}
			o.Port = port
		}))
	})
	if !r.failed("address already in use") {
		t.Fatalf("want a failure that names the cause, got %q", r.lines())
	}
}

func TestWithoutListener(t *testing.T) {
	srv := partitest.StartServer(t, partitest.WithoutListener())
	put(t, bucket(t, srv.Connect(t), jetstream.FileStorage), "k")
	own, err := nats.Connect("", nats.InProcessServer(srv))
	if err != nil {
		t.Fatal(err)
	}
	own.Close()
	srv.Shutdown()
	if _, err := nats.Connect("", nats.InProcessServer(srv)); err == nil {
		t.Fatal("connected to a server that is down")
	}
}

func TestLoggerIsSilentAfterTheTest(t *testing.T) {
	var log *partitest.Logger
	var lines atomic.Int64
	t.Run("inner", func(t *testing.T) {
		log = partitest.NewLogger(countingTB{TB: t, lines: &lines})
		log.Debug("d", "key", 1)
		log.Info("i", "odd")
		log.Warn("w")
		log.Error("e")
	})
	log.Info("too late") // t.Log would panic
	if n := lines.Load(); n != 4 {
		t.Fatalf("want 4 lines, got %d", n)
	}
}

func TestClusterReplicates(t *testing.T) {
	c := partitest.StartEmbeddedNATSCluster(t, 3)
	if len(c.Servers()) != 3 || len(c.URLs()) != 3 || c.Leader() == nil {
		t.Fatalf("servers %d, urls %v, leader %v", len(c.Servers()), c.URLs(), c.Leader())
	}
	js, err := jetstream.New(c.Connect(t))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	kv, err := js.CreateKeyValue(ctx, jetstream.KeyValueConfig{Bucket: "r3", Replicas: 3})
	if err != nil {
		t.Fatal(err)
	}
	put(t, kv, "k")

	// The stream's leader goes; WaitReady waits for the next one, since a request
	// to a stream without a leader is never answered.
	stream, err := js.Stream(ctx, "KV_r3")
	if err != nil {
		t.Fatal(err)
	}
	down := slices.IndexFunc(c.Servers(), func(s *partitest.Server) bool {
		return s.Name() == stream.CachedInfo().Cluster.Leader
	})
	url := c.URLs()[down]
	c.StopNode(down)
	c.WaitReady()
	other, err := jetstream.New(c.Servers()[(down+1)%3].Connect(t))
	if err != nil {
		t.Fatal(err)
	}
	if kv, err = other.KeyValue(ctx, "r3"); err != nil {
		t.Fatal(err)
	}
	if _, err := kv.Get(ctx, "k"); err != nil {
		t.Fatalf("read from another node: %v", err)
	}
	for i := range 500 {
		put(t, kv, strconv.Itoa(i))
	}

	// It comes back where it was, and is told what it missed.
	c.RestartNode(down)
	if c.URLs()[down] != url {
		t.Fatalf("node was at %s, now at %s", url, c.URLs()[down])
	}
	back, err := jetstream.New(c.Servers()[down].Connect(t))
	if err != nil {
		t.Fatal(err)
	}
	if stream, err = back.Stream(ctx, "KV_r3"); err != nil {
		t.Fatalf("ask the node that came back: %v", err)
	}
	for _, r := range stream.CachedInfo().Cluster.Replicas {
		if !r.Current || r.Offline {
			t.Errorf("%s is behind", r.Name)
		}
	}
}

func TestClusterOfOneIsRefused(t *testing.T) {
	r := &recorder{TB: t}
	r.run(func() { partitest.StartEmbeddedNATSCluster(r, 1) })
	if !r.failed("at least 2") {
		t.Fatalf("got %q", r.lines())
	}
}
