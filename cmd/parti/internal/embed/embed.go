// Package embed starts a NATS server inside this process.
package embed

import (
	"errors"
	"time"

	"github.com/nats-io/nats-server/v2/server"
)

// readyTimeout bounds the start of a server.
const readyTimeout = 10 * time.Second

// Options say how the server is started.
type Options struct {
	Name string
	// Dir is where JetStream keeps its data.
	Dir string
	// Port on loopback; 0 is one that the system chooses.
	Port int
	// Monitor opens the HTTP monitor, on a port that the system chooses.
	Monitor bool
}

// Start starts a server with JetStream on loopback and returns when it is ready.
func Start(o Options) (*server.Server, error) {
	opts := &server.Options{
		ServerName: o.Name,
		Host:       "127.0.0.1",
		Port:       o.Port,
		JetStream:  true,
		StoreDir:   o.Dir,
		NoLog:      true,
		NoSigs:     true,
	}
	if opts.Port == 0 {
		opts.Port = server.RANDOM_PORT
	}
	if o.Monitor {
		opts.HTTPHost, opts.HTTPPort = "127.0.0.1", -1
	}
	s, err := server.NewServer(opts)
	if err != nil {
		return nil, err
	}
	s.Start()
	if !s.ReadyForConnections(readyTimeout) {
		s.Shutdown()
		s.WaitForShutdown()
		return nil, errors.New("the server is not ready after 10s")
	}
	return s, nil
}
