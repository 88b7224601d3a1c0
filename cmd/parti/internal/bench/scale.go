package bench

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"runtime"
	"strconv"
	"strings"
	"time"

	"github.com/arloliu/parti"
	"github.com/arloliu/parti/cmd/parti/internal/fleet"
)

// ScaleOptions say what to measure.
type ScaleOptions struct {
	Sizes []ScaleSize
	// Runs is how often a worker leaves and another one joins.
	Runs int
	// Hosts is how many processes share the managers that neither lead nor leave.
	Hosts int
	// JSON is the file to write the figures to as well.
	JSON       string
	ReportOnly bool
	Verbose    bool
}

// ScaleSize is the size of a list and of a fleet.
type ScaleSize struct{ Partitions, Workers int }

// ParseScaleSizes reads sizes such as 10000x64: partitions, then workers.
func ParseScaleSizes(texts []string) ([]ScaleSize, error) {
	var sizes []ScaleSize
	for _, text := range texts {
		p, w, ok := strings.Cut(text, "x")
		partitions, err1 := strconv.Atoi(p)
		workers, err2 := strconv.Atoi(w)
		if !ok || err1 != nil || err2 != nil || workers < 4 || workers > 2000 || partitions < workers || partitions > 9_999_999 {
			return nil, fmt.Errorf("size %q: want PARTITIONSxWORKERS, such as 10000x64, 4 to 2000 workers, and a partition for each", text)
		}
		sizes = append(sizes, ScaleSize{partitions, workers})
	}
	return sizes, nil
}

// The events that are measured.
const (
	ScaleCold  = "cold start"
	ScaleLeave = "a worker dies"
	ScaleJoin  = "a worker joins"
)

// ScaleFigure is what one event took. Times are in seconds from the verdict, or
// from the beginning of the plan where nobody died.
type ScaleFigure struct {
	Partitions int    `json:"partitions"`
	Workers    int    `json:"workers"`
	Event      string `json:"event"`
	// Total is until the last worker that the plan affects has its new
	// assignment in force. Plan is the strategy's part of it, Publish until the
	// head was written, Reach what was left.
	Total   float64 `json:"total"`
	Plan    float64 `json:"plan"`
	Publish float64 `json:"publish"`
	Reach   float64 `json:"reach"`
	// Moved partitions, and the bytes of their ids.
	Moved      int `json:"moved"`
	MovedBytes int `json:"movedBytes"`
	// What was written to the bucket of assignments.
	Values    int `json:"values"`
	Bytes     int `json:"bytes"`
	MaxValue  int `json:"maxValue"`
	HeadBytes int `json:"headBytes"`
	// What the server received and sent in all that time, heartbeats included.
	InMsgs   int64 `json:"inMsgs"`
	OutMsgs  int64 `json:"outMsgs"`
	InBytes  int64 `json:"inBytes"`
	OutBytes int64 `json:"outBytes"`
	// HeapInuse of the leader beside the source's list, in bytes: after a
	// collection, and the most that was seen.
	Heap float64 `json:"heap"`
	Peak float64 `json:"peak"`
}

// RunScale measures how plans of a fleet reach its workers, and how that grows.
func RunScale(ctx context.Context, opts ScaleOptions, out io.Writer) (err error) {
	b := &bench{opts: Options{Verbose: opts.Verbose}, out: out, begun: time.Now()}
	if b.srv, err = openServer(ctx, b.opts); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, b.srv.close()) }()
	b.print("parti bench scale: nats-server %s in a process of its own, %d processors%s\n",
		b.srv.nc.ConnectedServerVersion(), runtime.NumCPU(), load())
	var figures []ScaleFigure
	for _, size := range opts.Sizes {
		s := newScale(b, opts, size)
		got, failed := s.measure(ctx)
		figures = append(figures, got...)
		if failed = errors.Join(failed, s.close(ctx)); failed != nil {
			err = fmt.Errorf("%d partitions, %d workers: %w", size.Partitions, size.Workers, failed)
			break
		}
	}
	b.print("\n")
	if err = errors.Join(err, writeScale(out, figures), writeFile(opts.JSON, figures)); err != nil {
		return err
	}
	missed := missedScale(figures)
	for _, m := range missed {
		b.print("MISSED: %s\n", m)
	}
	if len(missed) > 0 && !opts.ReportOnly {
		return fmt.Errorf("%w: %d", ErrMissed, len(missed))
	}
	return nil
}

// scale is a fleet of one size: the leader and the worker that will die have a
// process each, the others share some.
type scale struct {
	b    *bench
	opts ScaleOptions
	size ScaleSize
	spec hostSpec

	fleet  *fleet.Fleet
	wire   *wireMeter
	leader *fleet.Process
	victim *fleet.Process

	started  int
	leads    bool
	workers  map[string]hostSaid // the last saidApplied of each
	whose    map[string]int      // which process a worker is in
	want     uint64              // the sum over all partitions
	owned    int
	sum      uint64
	last     time.Time // of the last saidApplied
	verdicts []time.Time
	atPlan   usage
	plans    []parti.Rebalance
	memory   []hostSaid
	errors   int // that OnError was told
}

// mostErrors is how many errors of a fleet are shown.
const mostErrors = 5

func newScale(b *bench, opts ScaleOptions, size ScaleSize) *scale {
	cfg := parti.Config{
		KVBucket: newBuckets(), WorkerIDMax: 2*size.Workers + 10,
		// Processes that share two processors take their time.
		ColdStartWindow: 3 * time.Minute, ColdStartSettle: 3 * time.Second, StartupTimeout: 2 * time.Minute,
		PlannedScaleWindow: time.Second,
	}
	cfg.Assignment.MinRebalanceInterval = time.Second
	s := &scale{
		b: b, opts: opts, size: size, fleet: fleet.New(), workers: map[string]hostSaid{}, whose: map[string]int{},
		spec: hostSpec{URL: b.srv.url, Config: cfg, Partitions: size.Partitions, Managers: 1},
	}
	for i := range size.Partitions {
		s.want += hashOf(scalePartition(i))
	}
	return s
}

func (s *scale) measure(ctx context.Context) (figures []ScaleFigure, err error) {
	if s.wire, err = newWireMeter(s.b.srv.nc, s.spec.Config.KVBucket.AssignmentBucket); err != nil {
		return nil, err
	}
	f, err := s.event(ctx, ScaleCold, s.size.Workers, s.startAll)
	if err != nil {
		return nil, err
	}
	figures = append(figures, f)
	for range s.opts.Runs {
		// The window of what came before is over.
		if err := s.rest(ctx, 3*time.Second); err != nil {
			return figures, err
		}
		f, err := s.event(ctx, ScaleLeave, s.size.Workers-1, func(context.Context) error {
			s.lose(s.victim.N)
			return s.fleet.Kill(s.victim)
		})
		if err != nil {
			return figures, err
		}
		figures = append(figures, f)
		if err := s.rest(ctx, 3*time.Second); err != nil {
			return figures, err
		}
		f, err = s.event(ctx, ScaleJoin, s.size.Workers, func(context.Context) (err error) {
			s.victim, err = s.fleet.Start(HostCommand, s.spec)
			return err
		})
		if err != nil {
			return figures, err
		}
		figures = append(figures, f)
	}
	return figures, nil
}

// startAll starts the processes; the first one leads.
func (s *scale) startAll(ctx context.Context) (err error) {
	first := s.spec
	first.Leads = true
	if s.leader, err = s.fleet.Start(HostCommand, first); err != nil {
		return err
	}
	if err := s.until(ctx, "nobody leads", func() bool { return s.leads }); err != nil {
		return err
	}
	if s.victim, err = s.fleet.Start(HostCommand, s.spec); err != nil {
		return err
	}
	rest := s.size.Workers - 2
	hosts := min(s.opts.Hosts, rest)
	for i := range hosts {
		spec := s.spec
		spec.Managers = rest*(i+1)/hosts - rest*i/hosts
		if _, err := s.fleet.Start(HostCommand, spec); err != nil {
			return err
		}
	}
	return nil
}

// event has something happen and waits until the fleet has come to rest.
func (s *scale) event(ctx context.Context, name string, workers int, act func(context.Context) error) (ScaleFigure, error) {
	f := ScaleFigure{Partitions: s.size.Partitions, Workers: s.size.Workers, Event: name}
	s.plans, s.memory, s.verdicts, s.last, s.atPlan = nil, nil, nil, time.Time{}, usage{}
	s.wire.reset()
	before, err := s.b.srv.usage(ctx)
	if err != nil {
		return f, err
	}
	if err := act(ctx); err != nil {
		return f, err
	}
	err = s.until(ctx, name, func() bool {
		return len(s.plans) > 0 && len(s.memory) > 0 && s.started == workers && s.owned == s.size.Partitions && s.sum == s.want
	})
	if err != nil {
		return f, err
	}
	after, err := s.b.srv.usage(ctx)
	if err != nil {
		return f, err
	}
	if len(s.plans) > 1 || len(s.verdicts) > 1 {
		s.b.say("%s: %d plans and %d verdicts, where one was expected", name, len(s.plans), len(s.verdicts))
	}
	if s.atPlan.at.IsZero() {
		s.atPlan = before
	}
	plan := s.plans[0]
	begun := plan.Began
	if len(s.verdicts) > 0 {
		begun = s.verdicts[0]
	}
	f.Total, f.Plan, f.Publish = s.last.Sub(begun).Seconds(), plan.Plan.Seconds(), plan.Publish.Seconds()
	f.Reach = s.last.Sub(plan.Began.Add(plan.Plan + plan.Publish)).Seconds()
	f.Moved = plan.Moves
	if name == ScaleCold {
		f.Moved = s.size.Partitions
	}
	f.MovedBytes = f.Moved * scaleIDBytes
	s.wire.figures(&f)
	f.InMsgs, f.OutMsgs = after.in-s.atPlan.in, after.out-s.atPlan.out
	f.InBytes, f.OutBytes = after.inBytes-s.atPlan.inBytes, after.outBytes-s.atPlan.outBytes
	m := s.memory[len(s.memory)-1]
	f.Heap, f.Peak = m.Heap, m.Peak
	s.b.say("%d x %d, %s: %.3f s (plan %.3f, publish %.3f, reach %.3f), %d values, %d bytes, heap %.0f MB, peak %.0f MB",
		f.Partitions, f.Workers, name, f.Total, f.Plan, f.Publish, f.Reach, f.Values, f.Bytes, f.Heap/1e6, f.Peak/1e6)
	return f, nil
}

// lose forgets the workers of a process.
func (s *scale) lose(proc int) {
	for w, p := range s.whose {
		if p == proc {
			s.owned -= s.workers[w].Owned
			s.sum -= s.workers[w].Sum
			delete(s.workers, w)
			delete(s.whose, w)
			s.started--
		}
	}
}

func (s *scale) hear(ctx context.Context, ev fleet.Event) error {
	switch {
	case ev.Ended:
		p := s.fleet.Procs[ev.Proc]
		s.fleet.Forget(ev.Proc)
		if !p.Told() {
			return fmt.Errorf("process %d ended by itself: %w", ev.Proc, errors.Join(ev.Err, errors.New(ev.Stderr)))
		}
		return nil
	case ev.Report == nil:
		s.b.say("process %d: %s", ev.Proc, ev.Stderr)
		return nil
	}
	var said hostSaid
	if err := json.Unmarshal([]byte(ev.Report.Text), &said); err != nil {
		return fmt.Errorf("process %d said %q: %w", ev.Proc, ev.Report.Text, err)
	}
	at := time.Unix(0, said.At)
	switch said.What {
	case saidStarted:
		s.started++
		s.whose[said.Worker] = ev.Proc
	case saidLeads:
		if s.leader != nil && ev.Proc != s.leader.N {
			return fmt.Errorf("%s leads, which should not", said.Worker)
		}
		s.leads = true
	case saidApplied:
		if p := s.fleet.Procs[ev.Proc]; p == nil || p.Killed {
			return nil
		}
		old := s.workers[said.Worker]
		s.owned += said.Owned - old.Owned
		s.sum += said.Sum - old.Sum
		s.workers[said.Worker] = said
		s.last = later(s.last, at)
	case saidVerdict:
		s.verdicts = append(s.verdicts, at)
		var err error
		s.atPlan, err = s.b.srv.usage(ctx)
		return err
	case saidRebalanced:
		s.plans = append(s.plans, *said.Plan)
	case saidMemory:
		s.memory = append(s.memory, said)
	case saidError:
		if s.errors++; s.errors <= mostErrors || s.opts.Verbose {
			s.b.say("%s: %s", said.Worker, said.Text)
		}
	}
	return nil
}

func (s *scale) until(ctx context.Context, what string, cond func() bool) error {
	timer := time.NewTimer(3 * time.Minute)
	defer timer.Stop()
	for !cond() {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-timer.C:
			return fmt.Errorf("%w: %s: %d workers started, %d of %d partitions owned, %d plans",
				errTooLate, what, s.started, s.owned, s.size.Partitions, len(s.plans))
		case ev := <-s.fleet.Events:
			if err := s.hear(ctx, ev); err != nil {
				return err
			}
		}
	}
	return nil
}

// rest hears the processes for a while.
func (s *scale) rest(ctx context.Context, d time.Duration) error {
	end := time.After(d)
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-end:
			return nil
		case ev := <-s.fleet.Events:
			if err := s.hear(ctx, ev); err != nil {
				return err
			}
		}
	}
}

// close ends every process at once and removes what the fleet leaves in NATS.
func (s *scale) close(ctx context.Context) error {
	s.fleet.KillAll()
	for len(s.fleet.Procs) > 0 {
		if ev := <-s.fleet.Events; ev.Ended {
			s.fleet.Forget(ev.Proc)
		}
	}
	s.fleet.Wait()
	s.wire.close()
	return s.b.srv.remove(context.WithoutCancel(ctx), s.spec.Config.KVBucket)
}
