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
	// Users may connect; NoAuthUser is who connects without saying who it is.
	Users      []*server.User
	NoAuthUser string
}

// Server returns the options as the server takes them, for its reload too.
func (o Options) Server() *server.Options {
	opts := &server.Options{
		ServerName: o.Name,
		Host:       "127.0.0.1",
		Port:       o.Port,
		JetStream:  true,
		StoreDir:   o.Dir,
		NoLog:      true,
		NoSigs:     true,
		Users:      o.Users,
		NoAuthUser: o.NoAuthUser,
	}
	if opts.Port == 0 {
		opts.Port = server.RANDOM_PORT
	}
	if o.Monitor {
		opts.HTTPHost, opts.HTTPPort = "127.0.0.1", -1
	}
	return opts
}

// Start starts a server with JetStream on loopback and returns when it is ready.
func Start(o Options) (*server.Server, error) {
	s, err := server.NewServer(o.Server())
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
