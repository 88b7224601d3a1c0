package testing

import (
	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
)

// Option changes how an embedded server, or each server of a cluster, runs.
type Option func(*options)

type options struct {
	storeDir     string
	noJetStream  bool
	noListener   bool
	serverOpts   []func(*server.Options)
	connOpts     []nats.Option
	clusterRoute func(*server.Options)
}

// WithStoreDir keeps the server's data in dir instead of a temporary directory,
// so that it outlives the test. A cluster makes one directory per node in it.
func WithStoreDir(dir string) Option {
	return func(o *options) { o.storeDir = dir }
}

// WithoutJetStream runs the server without JetStream, which parti must refuse.
func WithoutJetStream() Option {
	return func(o *options) { o.noJetStream = true }
}

// WithoutListener opens no socket: only connections made by Connect, by a
// [Link], or with nats.InProcessServer(server) reach the server. It is what
// makes a server fit for a bubble.
func WithoutListener() Option {
	return func(o *options) { o.noListener = true }
}

// WithServerOptions changes the options of the server after everything else has
// been set. It is called again for every restart. A port that it sets is used.
func WithServerOptions(f func(*server.Options)) Option {
	return func(o *options) { o.serverOpts = append(o.serverOpts, f) }
}

// WithConnOptions adds options to every connection made by Connect, before those
// given to Connect.
func WithConnOptions(opts ...nats.Option) Option {
	return func(o *options) { o.connOpts = append(o.connOpts, opts...) }
}
