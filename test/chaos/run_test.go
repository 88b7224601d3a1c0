package chaos

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/arloliu/parti"
	"github.com/arloliu/parti/test/internal/crew"
	"github.com/arloliu/parti/test/soak/oracle"
)

const (
	// joinLimit bounds how long workers may take to join, and to leave.
	joinLimit = time.Minute
	// drainLimit bounds how long nothing may become less of what is left in the end.
	drainLimit = 150 * time.Second
	// warmup is how many messages one worker handles alone, before it is measured.
	warmup = 3000
)

// run is one run of a fleet. Its goroutine owns all of it.
type run struct {
	mode     parti.Ownership
	schedule [][]fault
	seed     uint64
	rate     int

	ctx     context.Context
	dir     string
	cfg     parti.Config
	cluster *crew.Servers
	js      jetstream.JetStream
	ledger  *ledger
	fleet   *crew.Fleet
	own     *crew.Journal
	proxies [slots]*proxies
	procs   [slots]*crew.Process // who is in each slot; nil for a moment after a kill
	// starting is the slot for which a process is started.
	starting int
	pub      *publisher
	result   *result
}

// usage is what a worker process says it uses.
type usage struct{ goroutines, heap int }

// play makes one run.
func (r *run) play(binary string, nodes int) (err error) {
	began := time.Now()
	defer func() { r.result.took = time.Since(began) }()
	file, err := crew.OpenHistory(r.dir, 0)
	if err != nil {
		return err
	}
	defer func() { _ = file.Close() }()
	r.own = crew.NewJournal(file, io.Discard)
	r.cfg = config(r.mode, nodes)
	r.result.within = stableWithin(r.cfg)
	r.cluster, err = crew.StartServers(binary, filepath.Join(r.dir, "servers"), nodes)
	if r.cluster != nil {
		defer r.cluster.Close()
	}
	if err != nil {
		return err
	}
	nc, err := nats.Connect(r.cluster.URLs(), nats.MaxReconnects(-1), nats.ReconnectWait(200*time.Millisecond), nats.Name("chaos runner"),
		nats.ErrorHandler(func(*nats.Conn, *nats.Subscription, error) {}))
	if err != nil {
		return err
	}
	defer nc.Close()
	if r.js, err = jetstream.New(nc, jetstream.WithPublishAsyncTimeout(5*time.Second), jetstream.WithPublishAsyncMaxPending(4*window)); err != nil {
		return err
	}
	if err := r.createStreams(nodes); err != nil {
		return err
	}
	if err := os.MkdirAll(r.ledgerDir(), 0o700); err != nil {
		return err
	}
	if r.ledger, err = newLedger(r.ledgerDir()); err != nil {
		return err
	}
	defer r.ledger.close()
	for i := range r.proxies {
		if r.proxies[i], err = newProxies(i, r.cluster); err != nil {
			return err
		}
		defer r.proxies[i].close()
	}
	r.fleet = crew.NewFleet(asWorker, partitions, r.own, func(proc int) (string, error) {
		i := r.starting
		line, err := json.Marshal(spec{
			URLs: r.proxies[i].urls(), Ledger: r.ledger.listener.Addr().String(), Dir: r.dir, Proc: proc, Seed: r.seed,
			Replicas: nodes, Mode: r.mode,
		})
		return string(line), err
	})
	r.fleet.Heard = r.heard
	stalls := crew.WatchStalls()
	err = r.story()
	stalls.End()
	r.result.stall = stalls.Worst
	if err != nil {
		err = fmt.Errorf("%w\n%s", err, r.status())
	}
	for _, p := range r.fleet.Procs {
		_ = p.Signal(sigCont)
	}
	return errors.Join(err, r.fleet.End(joinLimit))
}

func (r *run) ledgerDir() string { return filepath.Join(r.dir, "store") }

func (r *run) createStreams(replicas int) error {
	for _, s := range streams {
		replicas := replicas
		if s.retention == jetstream.InterestPolicy {
			replicas = min(replicas, *interest)
		}
		err := insist(r.ctx, func() error {
			_, err := r.js.CreateStream(r.ctx, jetstream.StreamConfig{
				Name: s.name, Subjects: []string{s.name + ".>"}, Retention: s.retention, Replicas: replicas, Duplicates: 2 * time.Minute,
			})
			return err
		})
		if err != nil {
			return fmt.Errorf("create stream %s: %w", s.name, err)
		}
	}
	return nil
}

// story is the run itself: one worker alone, all of them while things break, and
// the first one alone again.
func (r *run) story() error {
	if err := r.join(0); err != nil {
		return err
	}
	if _, err := r.settle(joinLimit); err != nil {
		return err
	}
	r.pub = &publisher{js: r.js}
	if err := r.publish(r.ctx, 1000, warmup); err != nil {
		return err
	}
	if err := r.drain(); err != nil {
		return err
	}
	before, err := r.measure(r.procs[0])
	if err != nil {
		return err
	}
	for i := 1; i < slots; i++ {
		if err := r.start(i); err != nil {
			return err
		}
	}
	if _, err := r.settle(joinLimit); err != nil {
		return err
	}
	if err := r.storm(); err != nil {
		return err
	}
	if err := r.drain(); err != nil {
		return err
	}
	for i := 1; i < slots; i++ {
		r.fleet.Leave(r.procs[i])
	}
	if err := r.until("the others have left", joinLimit, func() bool { return len(r.fleet.Procs) == 1 }); err != nil {
		return err
	}
	if _, err := r.settle(joinLimit); err != nil {
		return err
	}
	after, err := r.measure(r.procs[0])
	if err != nil {
		return err
	}
	for range 50 { // connections that end take a moment
		if after.goroutines <= before.goroutines {
			break
		}
		if err := r.rest(200 * time.Millisecond); err != nil {
			return err
		}
		if after, err = r.measure(r.procs[0]); err != nil {
			return err
		}
	}
	r.result.before, r.result.after = before, after
	r.fleet.Leave(r.procs[0])
	if err := r.until("the last one has left", joinLimit, func() bool { return len(r.fleet.Procs) == 0 }); err != nil {
		return err
	}
	return r.left()
}

// storm has everything break while messages flow.
func (r *run) storm() error {
	ctx, cancel := context.WithCancel(r.ctx)
	defer cancel()
	quit, done := make(chan struct{}), make(chan error, 1)
	began := time.Now()
	before := r.pub.total
	go func() { done <- r.pub.run(ctx, r.rate, 0, quit) }()
	var err error
	for i, ep := range r.schedule {
		if err = r.episode(i, ep); err != nil {
			err = fmt.Errorf("episode %d: %w", i, err)
			break
		}
	}
	took := time.Since(began)
	r.result.storm = [2]time.Time{began, time.Now()}
	close(quit)
	end := time.AfterFunc(time.Minute, cancel)
	defer end.Stop()
	err = errors.Join(err, <-done)
	r.result.rate = float64(r.pub.total-before) / took.Seconds()
	r.result.pubPause = r.pub.pause
	r.pub.record(r.own)
	return err
}

func (r *run) publish(ctx context.Context, rate, n int) error {
	done := make(chan error, 1)
	go func() { done <- r.pub.run(ctx, rate, n, nil) }()
	var result error
	over := false
	err := r.until("all is published", joinLimit, func() bool {
		select {
		case result = <-done:
			over = true
		default:
		}
		return over
	})
	return errors.Join(err, result)
}

// start starts a worker in a slot.
func (r *run) start(slot int) error {
	r.starting = slot
	p, err := r.fleet.Start()
	if err != nil {
		return err
	}
	r.procs[slot] = p
	return nil
}

func (r *run) join(slot int) error {
	if err := r.start(slot); err != nil {
		return err
	}
	return r.until("the worker has joined", joinLimit, func() bool { return r.procs[slot].Number >= 0 })
}

// heard takes what only this fleet says.
func (r *run) heard(p *crew.Process, rec oracle.Record) bool {
	switch {
	case strings.HasPrefix(rec.Text, sayState):
		p.State = strings.TrimPrefix(rec.Text, sayState)
	case rec.Text == sayHeap:
		r.result.used.heap = rec.N
	case rec.Text == sayGoroutines:
		r.result.used.goroutines = rec.N
		p.Asked--
	case rec.Text == sayLeft:
		r.result.leftBehind = max(r.result.leftBehind, rec.N)
	default:
		return false
	}
	return true
}

// measure asks a worker what it uses.
func (r *run) measure(p *crew.Process) (usage, error) {
	if err := r.rest(time.Second); err != nil {
		return usage{}, err
	}
	p.Asked++
	if err := p.Say(cmdFigures); err != nil {
		return usage{}, err
	}
	err := r.until("the worker says what it uses", joinLimit, func() bool { return p.Asked == 0 })
	return r.result.used, err
}

// calm is for how long everybody must be Stable to count as such: who was stopped
// needs a moment to find out what it has missed.
const calm = 1500 * time.Millisecond

// settle waits until everybody is Stable and every partition has an owner, and has
// been for a moment. It returns when that began.
func (r *run) settle(limit time.Duration) (began time.Time, err error) {
	err = r.until("everybody is Stable", limit, func() bool {
		switch {
		case !r.settled():
			began = time.Time{}
		case began.IsZero():
			began = time.Now()
		}
		return !began.IsZero() && time.Since(began) >= calm
	})
	return began, err
}

func (r *run) settled() bool {
	for _, p := range r.fleet.Procs {
		if !p.Told && (p.Killed || p.Number < 0 || p.State != parti.StateStable.String()) {
			return false
		}
	}
	return r.fleet.Owned()
}

// drain waits until nothing is left to handle.
func (r *run) drain() error {
	asked, progress, least := time.Now(), time.Now(), -1
	left := 0
	err := r.until("every message is handled", 10*time.Minute, func() bool {
		if time.Since(asked) < 200*time.Millisecond {
			return false
		}
		all, err := waiting(r.ctx, r.js)
		asked = time.Now()
		if err != nil {
			r.own.Say("%v", err)
			return time.Since(progress) > drainLimit
		}
		left = 0
		for _, n := range all {
			left += n
		}
		if least < 0 || left < least {
			least, progress = left, asked
			r.own.Say("left %v", all)
		}
		return left == 0 || time.Since(progress) > drainLimit
	})
	if err == nil && left > 0 {
		r.own.Say("%d messages are left", left) // judged
	}
	return err
}

// left records what the servers still have in the end.
func (r *run) left() error {
	var all [partitions]int
	err := insist(r.ctx, func() (err error) {
		all, err = waiting(r.ctx, r.js)
		return err
	})
	for part, n := range all {
		if n > 0 {
			r.own.Add(oracle.Record{Kind: oracle.Left, Part: part, N: n})
		}
	}
	return err
}

func (r *run) rest(d time.Duration) error {
	end := time.Now().Add(d)
	return r.until("", joinLimit, func() bool { return time.Now().After(end) })
}

// until takes events until cond holds.
func (r *run) until(what string, limit time.Duration, cond func() bool) error {
	return r.fleet.Until(r.ctx, what, limit, cond)
}

// insist calls f again while it fails: a cluster that elects a leader answers
// nobody.
func insist(ctx context.Context, f func() error) error {
	for try := 1; ; try++ {
		err := f()
		if err == nil || try == 100 {
			return err
		}
		if err := crew.Work(ctx, 100*time.Millisecond); err != nil {
			return err
		}
	}
}

func (r *run) status() string {
	var b strings.Builder
	for i, p := range r.procs {
		if p != nil {
			_, _ = fmt.Fprintf(&b, "slot %d: process %d, worker %d, %s\n", i, p.N, p.Number, p.State)
		}
	}
	_, _ = fmt.Fprintf(&b, "owners %v\n", r.fleet.Owner)
	return b.String()
}
