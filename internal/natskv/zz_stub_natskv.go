package natskv

import (
	"context"
	"errors"

	"github.com/nats-io/nats.go/jetstream"
)

// Stub until the real adapter is merged.

var (
	ErrConflict     = errors.New("conflict")
	ErrNotFound     = errors.New("not found")
	ErrDown         = errors.New("down")
	ErrAmbiguous    = errors.New("ambiguous")
	ErrRefused      = errors.New("refused")
	ErrNoConnection = errors.New("no connection")
	ErrNoJetStream  = errors.New("no jetstream")
	ErrBucket       = errors.New("bucket")
)

type Config struct {
	Buckets  [4]string
	Replicas int
	Memory   bool
}

type Store struct{}

type Entry struct {
	Key     string
	Val     []byte
	Rev     uint64
	Deleted bool
}

type Event struct {
	Entry
	Synced bool
	Lost   bool
}

type Watch struct{}

func (*Watch) Stop() {}

func Open(context.Context, jetstream.JetStream, Config) (*Store, error) { return &Store{}, nil }

func (*Store) Get(context.Context, int, string) (Entry, error)             { return Entry{}, ErrNotFound }
func (*Store) Create(context.Context, int, string, []byte) (uint64, error) { return 0, ErrRefused }
func (*Store) Update(context.Context, int, string, []byte, uint64) (uint64, error) {
	return 0, ErrRefused
}
func (*Store) Delete(context.Context, int, string, uint64) error { return ErrRefused }
func (*Store) Watch(context.Context, int, string, string, func(Event)) (*Watch, error) {
	return nil, ErrRefused
}
func (*Store) Warnings() []string { return nil }
func (*Store) Created(int) string { return "" }
