package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/arloliu/parti"
	"github.com/arloliu/parti/cmd/parti/internal/fleet"
)

// The moments of the kill and of the join, in percent of the messages counted.
// The join waits for the recovery from the kill, but not beyond joinLatest.
const (
	killAt     = 26
	joinAt     = 36
	joinLatest = 58
)

// A kill shows something when it comes within these, in percent, with work in
// flight.
const (
	killFrom = 25
	killTo   = 60
)

const (
	// readyTimeout bounds the time until the fleet works.
	readyTimeout = 60 * time.Second
	// idleCheck is how long nothing must have come before it is asked whether
	// anything can still come.
	idleCheck = 3 * time.Second
	// stallTimeout is when it is given up.
	stallTimeout = 45 * time.Second
	// killTimeout bounds how long a worker has to end.
	killTimeout = 12 * time.Second
	// forgetEvery is how many results are kept in the stream.
	forgetEvery = 2000
)

// demoOptions are the flags of the demo.
type demoOptions struct {
	nats    string
	input   string
	workers int
	pace    time.Duration
	calm    bool // neither kill nor join
	// killLeader kills the leader instead of a follower.
	killLeader bool
	verbose    bool
	windows    windows
	metrics    string // host at which workers serve them

	dropEvery int
}

// coldStart is the reason of a fleet's first plan, which moves nothing.
const coldStart = "cold_start"

// errDiffers is returned when the fleet and the single process disagree.
var errDiffers = errors.New("the fleet did not count what one process counts")

// demo is one run. Its loop owns all the state.
type demo struct {
	opts  demoOptions
	show  *display
	in    *input
	bus   *bus
	parts []parti.Partition
	fleet *fleet.Fleet
	cover *fleet.Coverage
	tally *tally

	publishing bool // has begun
	published  bool // has ended
	firstSent  time.Time
	lastResult time.Time
	resultSeq  uint64 // of the last result taken
	forgotten  uint64
	asked      time.Time // when idle was asked last
	gaveUp     bool

	killed    *fleet.Process
	killedAt  time.Time
	inFlight  int     // when it was killed
	percent   float64 // likewise
	recovery  time.Duration
	joined    *fleet.Process
	joinReady bool

	rebalances int
	forced     int
	ending     bool
}

// incoming is what the loop receives beside the events of the fleet.
type incoming struct {
	result result
	batch  []sent
	kind   incomingKind
	err    error
}

type incomingKind uint8

const (
	gotResult incomingKind = iota
	gotBatch
	gotPublished // err nil: everything is published
)

// runDemo counts the words of a tree with a fleet of processes.
func runDemo(ctx context.Context, opts demoOptions, out io.Writer) (err error) {
	d := &demo{opts: opts, show: newDisplay(out), tally: newTally()}
	defer d.show.done()
	if d.opts.input == "" {
		if d.opts.input, err = goSource(ctx); err != nil {
			return err
		}
	}
	d.show.say("reading %s", d.opts.input)
	if d.in, err = readInput(ctx, d.opts.input, pieceSize); err != nil {
		return err
	}
	for _, p := range d.in.parts {
		d.parts = append(d.parts, p.partition())
	}
	d.bus, err = openBus(ctx, opts.nats)
	if err != nil {
		return err
	}
	defer func() {
		if cerr := d.bus.close(context.WithoutCancel(ctx)); cerr != nil {
			err = errors.Join(err, fmt.Errorf("clean up: %w", cerr))
		}
	}()
	if err := d.bus.prepare(ctx, len(d.parts)); err != nil {
		return err
	}
	d.describe()
	if err := d.work(ctx); err != nil {
		return err
	}
	d.show.done()
	d.show.print(d.summary().String())
	if wrong := d.tally.verdict(d.in); len(wrong) > 0 {
		return fmt.Errorf("%w:\n  %s", errDiffers, strings.Join(wrong, "\n  "))
	}
	d.show.print(fmt.Sprintf("\n  The fleet counted what one process counts: %s words.\n", thousands(d.in.want.total)))
	return nil
}

// goSource returns the folder of the Go toolchain's own source.
func goSource(ctx context.Context) (string, error) {
	out, err := exec.CommandContext(ctx, "go", "env", "GOROOT").Output()
	if err != nil {
		return "", fmt.Errorf("ask go for its source, the default input: %w: name a folder of text files with --input", err)
	}
	return filepath.Join(strings.TrimSpace(string(out)), "src"), nil
}

// work runs the fleet until everything is counted, and ends it.
func (d *demo) work(ctx context.Context) (err error) {
	in := make(chan incoming, 256)
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	post := func(ctx context.Context, m incoming) error {
		select {
		case in <- m:
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	stop, err := d.bus.results(ctx, func(r result, err error) {
		_ = post(ctx, incoming{kind: gotResult, result: r, err: err})
	})
	if err != nil {
		return err
	}
	d.fleet = fleet.New()
	d.cover = fleet.NewCoverage(len(d.parts))

	publisherDone := make(chan struct{})
	publish := func() {
		defer close(publisherDone)
		perr := d.publisher(func(ctx context.Context, batch []sent) error {
			return post(ctx, incoming{kind: gotBatch, batch: batch})
		}).run(ctx)
		_ = post(ctx, incoming{kind: gotPublished, err: perr})
	}
	err = d.loop(ctx, in, func() { go publish() })
	d.end(err != nil)
	cancel()
	stop()
	if d.publishing {
		<-publisherDone
	}
	return err
}

func (d *demo) publisher(taken func(context.Context, []sent) error) *publisher {
	p := &publisher{js: d.bus.js, in: d.in, limit: pieceSize, over: d.opts.pace, taken: taken}
	for _, part := range d.parts {
		p.subjects = append(p.subjects, d.bus.names.workSubject(part))
	}
	return p
}

// loop starts the workers, then the publisher, and takes what they send until
// everything is counted.
func (d *demo) loop(ctx context.Context, in <-chan incoming, publish func()) error {
	for range d.opts.workers {
		if _, err := d.start(); err != nil {
			return err
		}
	}
	begun := time.Now()
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for {
		var err error
		select {
		case <-ctx.Done():
			return ctx.Err()
		case ev := <-d.fleet.Events:
			err = d.fleetSays(ev)
		case m := <-in:
			err = d.take(ctx, m)
		case <-tick.C:
			err = d.tick(ctx)
		}
		if err != nil {
			return err
		}
		switch {
		case !d.publishing && d.cover.Ready() == d.opts.workers && d.cover.Full():
			d.show.say("the fleet is complete: %d workers own %d partitions; publishing begins", d.opts.workers, len(d.parts))
			d.publishing, d.firstSent, d.lastResult = true, time.Now(), time.Now()
			publish()
		case !d.publishing && time.Since(begun) > readyTimeout:
			return fmt.Errorf("the fleet is not complete after %s: %d of %d workers started", readyTimeout, d.cover.Ready(), d.opts.workers)
		}
		if err := d.disturb(); err != nil {
			return err
		}
		if d.finished() {
			return nil
		}
	}
}

func (d *demo) start() (*fleet.Process, error) {
	p, err := d.fleet.Start(workerCommand, workerSpec{
		URL: d.bus.url, Names: d.bus.names, Windows: d.opts.windows, Parts: d.parts,
		Verbose: d.opts.verbose, Metrics: d.opts.metrics, DropEvery: d.opts.dropEvery,
	})
	if err != nil {
		return nil, err
	}
	d.cover.Seen(p.N)
	return p, nil
}

// take takes a result or what the publisher says.
func (d *demo) take(ctx context.Context, m incoming) error {
	if m.err != nil {
		return m.err
	}
	switch m.kind {
	case gotBatch:
		for _, s := range m.batch {
			d.tally.publish(s)
		}
	case gotPublished:
		d.published, d.lastResult = true, time.Now()
	case gotResult:
		if err := d.tally.add(m.result); err != nil {
			return err
		}
		d.resultSeq, d.lastResult = m.result.at, time.Now()
		if d.resultSeq >= d.forgotten+forgetEvery {
			d.forgotten = d.resultSeq
			return d.bus.forget(ctx, d.resultSeq)
		}
	}
	return nil
}

// tick shows the progress, and finds out when nothing more will come.
func (d *demo) tick(ctx context.Context) error {
	if !d.publishing {
		return nil
	}
	d.show.progress(status{
		counted: d.tally.counted, published: max(d.tally.published, d.tally.counted), total: d.in.messages,
		bytes: d.tally.bytes, elapsed: d.lastResult.Sub(d.firstSent), workers: d.cover.Ready(),
	})
	silent := time.Since(d.lastResult)
	if !d.published || d.tally.inFlight() == 0 || silent < idleCheck || time.Since(d.asked) < idleCheck {
		return nil
	}
	d.asked = time.Now()
	idle, err := d.bus.idle(ctx, d.resultSeq)
	switch {
	case err != nil:
		return err
	case idle:
		d.show.say("every message is acknowledged, and %d are not counted", d.tally.inFlight())
		d.gaveUp = true
	case silent > stallTimeout:
		d.show.say("nothing was counted for %s: given up", stallTimeout)
		d.gaveUp = true
	}
	return nil
}

// disturb kills a worker and starts one, when their time has come.
func (d *demo) disturb() error {
	if d.opts.calm || !d.publishing {
		return nil
	}
	at := d.tally.percent(d.in.messages)
	covered := d.cover.Full()
	if d.killed != nil && d.recovery == 0 && covered {
		d.recovery = max(time.Since(d.killedAt), 1)
		d.show.say("every partition has a live owner again, %s after the kill", seconds(d.recovery))
	}
	switch {
	case d.killed == nil && at >= killAt && (d.tally.inFlight() > 0 || d.published):
		n, ok := d.cover.Victim(d.opts.killLeader)
		if !ok {
			return errors.New("there is no worker to kill")
		}
		d.killed = d.fleet.Procs[n]
		role, owned := "a follower", d.cover.Owned(n)
		d.tally.pauses.killed(d.cover.Alive[n].ID)
		if d.cover.Alive[n].Leader {
			role = "the leader"
		}
		if err := d.fleet.Kill(d.killed); err != nil {
			return err
		}
		d.killedAt, d.percent, d.inFlight = time.Now(), at, d.tally.inFlight()
		d.cover.Gone(n)
		d.show.say("KILL  %s, %s with %d partitions, at %.1f %% with %d messages in flight",
			d.killed.Label(), role, owned, d.percent, d.inFlight)
	case d.killed != nil && d.joined == nil && at >= joinAt && (covered || at >= joinLatest):
		p, err := d.start()
		if err != nil {
			return err
		}
		d.joined = p
		d.show.say("JOIN  %s starts, at %.1f %% with %d messages in flight", p.Label(), at, d.tally.inFlight())
	}
	return nil
}

// finished reports whether there is nothing left to do or to see.
func (d *demo) finished() bool {
	if d.gaveUp {
		return true
	}
	if !d.published || d.tally.matched < d.tally.published {
		return false
	}
	return d.opts.calm || d.joinReady && d.cover.Full()
}

// end ends every worker, by force when it takes too long.
func (d *demo) end(failed bool) {
	d.ending = true
	limit := killTimeout
	if failed {
		limit = killTimeout / 2
		d.show.say("ending %d workers", len(d.fleet.Procs))
	}
	d.fleet.TellAll()
	timeout := time.After(limit)
	for len(d.fleet.Procs) > 0 {
		select {
		case ev := <-d.fleet.Events:
			if err := d.fleetSays(ev); err != nil {
				d.show.say("%s", err)
			}
		case <-timeout:
			d.show.say("%d workers did not end within %s: killed", len(d.fleet.Procs), limit)
			d.fleet.KillAll()
			timeout = nil
		}
	}
	d.fleet.Wait()
}

func (d *demo) summary() summary {
	s := summary{
		in: d.in, tally: d.tally, rebalances: d.rebalances, moves: d.cover.Moves, forced: d.forced,
		recovery: d.recovery, workTime: d.lastResult.Sub(d.firstSent),
	}
	if d.killed != nil {
		s.killed, s.percent, s.inFlight = d.killed.Label(), d.percent, d.inFlight
	}
	return s
}
