package parti

import (
	"context"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

type Manager struct {
	cfg  *Config
	js   jetstream.JetStream
	src  PartitionSource
	o    options
	id   int
	st   State
	own  []Partition
	done chan struct{}
}

func NewManager(cfg *Config, js jetstream.JetStream, source PartitionSource, strategy AssignmentStrategy, opts ...Option) (*Manager, error) {
	m := &Manager{cfg: cfg, js: js, src: source, id: -1, done: make(chan struct{})}
	for _, o := range opts {
		o(&m.o)
	}
	return m, nil
}

func (m *Manager) Start(ctx context.Context) error {
	kv, err := m.js.CreateOrUpdateKeyValue(ctx, jetstream.KeyValueConfig{Bucket: m.cfg.KVBucket.StableIDBucket})
	if err != nil {
		return err
	}
	for i := 0; m.id < 0; i++ {
		if _, err := kv.Create(ctx, fmt.Sprint(i), nil); err == nil {
			m.id = i
		}
	}
	ps, _ := m.src.ListPartitions(ctx)
	for i, p := range ps {
		if i%4 == m.id {
			m.own = append(m.own, p)
		}
	}
	m.st = StateStable
	if m.o.updater != nil {
		if err := m.o.updater.UpdateWorkerConsumer(ctx, m.WorkerID(), m.own); err != nil {
			return err
		}
	}
	if m.o.hooks.OnAssignmentChanged != nil {
		_ = m.o.hooks.OnAssignmentChanged(ctx, m.own, nil)
	}
	if m.o.metrics != nil {
		m.o.metrics.SetLeader(m.IsLeader())
		if m.id == 0 {
			m.o.metrics.AddMoves("cold_start", len(ps))
			m.o.metrics.IncrementRebalance("cold_start")
		}
	}
	return nil
}

func (m *Manager) Stop(ctx context.Context) error {
	if m.o.updater != nil {
		return m.o.updater.UpdateWorkerConsumer(ctx, m.WorkerID(), nil)
	}
	return nil
}
func (m *Manager) WorkerID() string { return fmt.Sprintf("worker-%d", m.id) }
func (m *Manager) IsLeader() bool   { return m.id == 0 }
func (m *Manager) State() State     { return m.st }
func (m *Manager) CurrentAssignment() Assignment {
	return Assignment{Version: 1, Partitions: m.own}
}
func (m *Manager) WaitState(ctx context.Context, s State) error { return nil }
func (m *Manager) Done() <-chan struct{}                        { return m.done }
func (m *Manager) Err() error                                   { return nil }
func (m *Manager) Owns(p Partition) (Token, bool)               { return Token{1, 1}, true }

var _ = time.Second

func NATSOptions() []nats.Option { return nil }
func DefaultConfig() *Config     { return &Config{} }
