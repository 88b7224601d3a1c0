package bench

import (
	"context"
	"encoding/json"
	"fmt"
	"hash/fnv"
	"io"
	"runtime"
	"runtime/metrics"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/arloliu/parti"
	"github.com/arloliu/parti/cmd/parti/internal/fleet"
	"github.com/arloliu/parti/strategy"
)

// HostCommand is the hidden command of a process with many managers.
const HostCommand = "bench-host"

// hostSpec is what such a process is to do.
type hostSpec struct {
	URL        string
	Config     parti.Config
	Partitions int
	// Managers is how many run in the process, each with a connection of its own.
	Managers int
	// Leads: the process has the list of the source from the beginning, and says
	// what memory its manager takes beside it.
	Leads bool
}

// hostSaid is what a manager of a host has to say, in the text of a report.
type hostSaid struct {
	What   string
	At     int64 // Unix time in ns
	Worker string

	// saidApplied: an assignment is in force.
	Owned int    `json:",omitempty"`
	Sum   uint64 `json:",omitempty"` // of the hashes of what is owned
	Added int    `json:",omitempty"`

	// saidRebalanced.
	Plan *parti.Rebalance `json:",omitempty"`

	// saidMemory: HeapInuse beside the source's list, in bytes: after a
	// collection, and the most since the last time.
	Heap, Peak float64 `json:",omitempty"`

	Text string `json:",omitempty"`
}

const (
	saidStarted    = "started"
	saidLeads      = "leads"
	saidApplied    = "applied"
	saidVerdict    = "verdict"
	saidRebalanced = "rebalanced"
	saidMemory     = "memory"
	saidError      = "error"
)

// scalePartition is the i-th partition of the list; its id has 29 bytes.
func scalePartition(i int) parti.Partition {
	return parti.Partition{Keys: []string{"orders", "eu-1", fmt.Sprintf("partition-%07d", i)}}
}

// scaleIDBytes is the size of its id.
var scaleIDBytes = len(scalePartition(0).ID())

func scalePartitions(n int) []parti.Partition {
	list := make([]parti.Partition, n)
	for i := range list {
		list[i] = scalePartition(i)
	}
	return list
}

func hashOf(p parti.Partition) uint64 {
	h := fnv.New64a()
	_, _ = h.Write([]byte(p.ID()))
	return h.Sum64()
}

// lazySource makes the list when it is asked for, which only a leader does, and
// keeps it for all managers of its process.
type lazySource struct{ list func() []parti.Partition }

func (s lazySource) ListPartitions(context.Context) ([]parti.Partition, error) { return s.list(), nil }

// RunHost is the life of a process with many managers.
func RunHost(ctx context.Context, in io.Reader, out io.Writer) error {
	var spec hostSpec
	return fleet.Serve(ctx, in, &spec, func(ctx context.Context) error {
		h := &host{spec: spec, reports: fleet.NewReporter(out)}
		h.source.list = sync.OnceValue(func() []parti.Partition { return scalePartitions(spec.Partitions) })
		return h.run(ctx)
	})
}

type host struct {
	spec    hostSpec
	reports *fleet.Reporter
	source  lazySource
	base    float64 // HeapInuse before the managers
	peak    atomic.Uint64
}

func (h *host) say(s hostSaid) {
	if s.At == 0 {
		s.At = time.Now().UnixNano()
	}
	text, err := json.Marshal(s)
	if err != nil {
		text = []byte(err.Error())
	}
	h.reports.Send(fleet.Report{Kind: fleet.Said, Text: string(text)})
}

func (h *host) run(ctx context.Context) error {
	conns := make([]jetstream.JetStream, h.spec.Managers)
	for i := range conns {
		nc, err := nats.Connect(h.spec.URL, append(parti.NATSOptions(), nats.Name("parti bench scale"), nats.Timeout(20*time.Second))...)
		if err != nil {
			return fmt.Errorf("connect to %s: %w", h.spec.URL, err)
		}
		defer nc.Close()
		if conns[i], err = jetstream.New(nc); err != nil {
			return err
		}
	}
	if h.spec.Leads {
		h.source.list()
		h.base, _ = inUse()
		sampling, stop := context.WithCancel(ctx)
		defer stop()
		go h.sample(sampling)
	}
	errs := make(chan error, len(conns))
	var wg sync.WaitGroup
	defer wg.Wait()
	// All at once would say more about the queue for ids than about plans.
	claiming := make(chan struct{}, claimsAtOnce)
	for i := range conns {
		select {
		case claiming <- struct{}{}:
		case <-ctx.Done():
			return nil
		}
		wg.Go(func() {
			if err := h.manage(ctx, conns[i], sync.OnceFunc(func() { <-claiming })); err != nil {
				errs <- err
			}
		})
	}
	select {
	case err := <-errs:
		return err
	case <-ctx.Done():
		return nil
	}
}

// claimsAtOnce is how many managers of a host look for an id at a time.
const claimsAtOnce = 4

// manage is the life of one manager; claimed is called when it has an id.
func (h *host) manage(ctx context.Context, js jetstream.JetStream, claimed func()) error {
	m := &hosted{host: h, claimed: claimed}
	mgr, err := parti.NewManager(&h.spec.Config, js, h.source, strategy.NewConsistentHash(),
		parti.WithMetrics(m), parti.WithLogger(m), parti.WithHooks(m.hooks()))
	if err != nil {
		return err
	}
	m.mgr = mgr
	if err := mgr.Start(ctx); err != nil {
		return fmt.Errorf("start: %w", err)
	}
	h.say(hostSaid{What: saidStarted, Worker: mgr.WorkerID()})
	select {
	case <-ctx.Done():
	case <-mgr.Done():
		return fmt.Errorf("%s ended by itself: %w", mgr.WorkerID(), mgr.Err())
	}
	return mgr.Stop(context.WithoutCancel(ctx))
}

// sample follows HeapInuse.
func (h *host) sample(ctx context.Context) {
	for {
		v := heapInUse()
		for {
			old := h.peak.Load()
			if v <= old || h.peak.CompareAndSwap(old, v) {
				break
			}
		}
		if pause(ctx, 5*time.Millisecond) != nil {
			return
		}
	}
}

// heapInUse is what runtime.MemStats calls HeapInuse, without stopping the world.
func heapInUse() uint64 {
	s := []metrics.Sample{{Name: "/memory/classes/heap/objects:bytes"}, {Name: "/memory/classes/heap/unused:bytes"}}
	metrics.Read(s)
	return s[0].Value.Uint64() + s[1].Value.Uint64()
}

// memory says what the manager takes, once a plan has come to rest.
func (h *host) memory() {
	peak := float64(h.peak.Load()) - h.base
	heap, _ := inUse()
	h.peak.Store(0)
	h.say(hostSaid{What: saidMemory, Heap: heap - h.base, Peak: peak})
	runtime.KeepAlive(h.source.list())
}

// hosted follows what one manager does: as its hooks, its metrics and its logger.
type hosted struct {
	parti.NopMetrics

	host    *host
	mgr     *parti.Manager
	claimed func()

	mu    sync.Mutex
	owned int
	sum   uint64
}

func (m *hosted) hooks() *parti.Hooks {
	return &parti.Hooks{
		OnAssignmentChanged: func(_ context.Context, added, removed []parti.Partition) error {
			at := time.Now().UnixNano()
			m.mu.Lock()
			defer m.mu.Unlock()
			for _, p := range removed {
				m.sum -= hashOf(p)
			}
			for _, p := range added {
				m.sum += hashOf(p)
			}
			m.owned += len(added) - len(removed)
			m.host.say(hostSaid{What: saidApplied, At: at, Worker: m.mgr.WorkerID(), Owned: m.owned, Sum: m.sum, Added: len(added)})
			return nil
		},
		OnError: func(_ context.Context, err error) error {
			m.host.say(hostSaid{What: saidError, Worker: m.mgr.WorkerID(), Text: err.Error()})
			return nil
		},
	}
}

func (m *hosted) SetWorker(id string) {
	if id != "" {
		m.claimed()
	}
}

func (m *hosted) SetLeader(leads bool) {
	if leads {
		m.host.say(hostSaid{What: saidLeads, Worker: m.mgr.WorkerID()})
	}
}

// memoryDelay is how long after a plan the leader's memory is looked at.
const memoryDelay = time.Second

func (m *hosted) ObserveRebalance(r parti.Rebalance) {
	m.host.say(hostSaid{What: saidRebalanced, Worker: m.mgr.WorkerID(), Plan: &r})
	if m.host.spec.Leads {
		time.AfterFunc(memoryDelay, m.host.memory)
	}
}

func (m *hosted) Debug(string, ...any) {}
func (m *hosted) Info(string, ...any)  {}
func (m *hosted) Error(string, ...any) {}

// Warn notes a verdict.
func (m *hosted) Warn(msg string, kv ...any) {
	if msg == "worker is dead" {
		m.host.say(hostSaid{What: saidVerdict, Text: fmt.Sprint(kv...)})
	}
}
