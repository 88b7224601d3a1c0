package soak

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/arloliu/parti"
	"github.com/arloliu/parti/subscription"
	"github.com/arloliu/parti/test/internal/crew"
	"github.com/arloliu/parti/test/soak/oracle"
	partitest "github.com/arloliu/parti/testing"
)

// form is what one run is to do.
type form struct {
	name       string
	retention  jetstream.RetentionPolicy
	layout     subscription.Layout
	storage    jetstream.StorageType
	replicas   int
	partitions int
	workers    int
	waiting    int // messages in every partition at every move
	moves      int
	perPlan    int  // partitions that a plan moves
	kills      int  // of the leader, spread over the moves
	crashes    int  // of any worker, when nothing moves
	leaves     int  // graceful ones, each followed by a join
	steady     bool // no plan is changed while its partitions drain
	seed       uint64
	// outage restarts the server that leads the stream, halfway.
	outage func(r *run) error
}

const (
	// settleLimit bounds how long the fleet may take to do what it was told.
	settleLimit = 2 * time.Minute
	// finishLimit bounds how long it may take to handle what is left in the end, and
	// settleLimit how long nothing may become less of it.
	finishLimit = 20 * time.Minute
	// askAgain is when it is told again, since a leader that died has forgotten.
	askAgain = 2 * time.Second
	// slack is how much more than wanted waits, since handlers go on.
	slack = 200
)

// run is one run of a fleet. Its goroutine owns all of it.
type run struct {
	form
	t       *testing.T
	ctx     context.Context
	url     string
	dir     string
	rng     *rand.Rand
	fleet   *crew.Fleet
	backlog *backlog
	own     *crew.Journal
	kv      jetstream.KeyValue
	js      jetstream.JetStream
	targets []int
	leaders []int // processes killed while they led
	took    time.Duration
	stalls  *crew.Stalls
}

// runForm makes one run and returns what its history comes to.
func runForm(t *testing.T, f form, url string, nc *nats.Conn) *result {
	t.Helper()
	began := time.Now()
	dir := historyDir(t, f.name)
	file, err := crew.OpenHistory(dir, 0)
	must(t, err)
	defer func() { _ = file.Close() }()
	js, err := jetstream.New(nc, jetstream.WithPublishAsyncMaxPending(2000), jetstream.WithPublishAsyncTimeout(30*time.Second))
	must(t, err)
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Minute+time.Duration(f.moves)*300*time.Millisecond)
	defer cancel()
	r := &run{
		form: f, t: t, ctx: ctx, url: url, dir: dir, js: js, own: crew.NewJournal(file, io.Discard),
		rng: rand.New(rand.NewPCG(f.seed, 0)), targets: make([]int, f.partitions),
	}
	must(t, r.prepare())
	storage := parti.StorageFile
	if f.storage == jetstream.MemoryStorage {
		storage = parti.StorageMemory
	}
	r.fleet = crew.NewFleet(asWorker, f.partitions, r.own, func(proc int) (string, error) {
		line, err := json.Marshal(spec{
			URL: url, Dir: dir, Proc: proc, Partitions: f.partitions, Replicas: f.replicas, Storage: storage, Seed: f.seed, Layout: f.layout,
		})
		return string(line), err
	})
	r.fleet.Heard = r.heard
	r.stalls = crew.WatchStalls()
	err = r.play()
	r.stalls.End()
	if err != nil {
		err = fmt.Errorf("%w\n%s", err, r.status())
	}
	if endErr := r.fleet.End(3 * handoffTimeout); err == nil {
		err = endErr
	}
	r.took = time.Since(began)
	if err != nil {
		t.Errorf("%s: %v", f.name, err)
	}
	return r.judge()
}

// prepare makes the stream and the key that holds the targets.
func (r *run) prepare() error {
	stream, err := r.js.CreateStream(r.ctx, jetstream.StreamConfig{
		Name: streamName, Subjects: []string{"work.>"}, Retention: r.retention, Storage: r.storage,
		Replicas: r.replicas, MaxConsumers: max(1000, 2*r.partitions),
	})
	if err != nil {
		return fmt.Errorf("create stream: %w", err)
	}
	r.backlog = &backlog{js: r.js, stream: stream, own: r.own, published: make([]int, r.partitions), retry: r.outage != nil}
	r.kv, err = r.js.CreateKeyValue(r.ctx, jetstream.KeyValueConfig{Bucket: controlBucket, Replicas: r.replicas, Storage: r.storage})
	if err != nil {
		return fmt.Errorf("create bucket: %w", err)
	}
	for p := range r.targets {
		r.targets[p] = p % r.workers
	}
	return r.publishTargets()
}

func (r *run) publishTargets() error {
	value, err := json.Marshal(r.targets)
	if err != nil {
		return err
	}
	return insist(r.ctx, r.outage != nil, func() error {
		ctx, cancel := context.WithTimeout(r.ctx, 10*time.Second)
		defer cancel()
		_, err := r.kv.Put(ctx, targetsKey, value)
		return err
	})
}

// play is the run itself.
func (r *run) play() error {
	for range r.workers {
		if _, err := r.fleet.Start(); err != nil {
			return err
		}
	}
	if err := r.until("the fleet is complete", settleLimit, func() bool { return len(r.fleet.Live()) == r.workers && settled(r.fleet, r.targets) }); err != nil {
		return err
	}
	if err := r.backlog.fill(r.ctx, r.waiting+slack); err != nil {
		return err
	}
	acts := r.schedule()
	for r.fleet.Moved < r.moves || len(acts) > 0 {
		for len(acts) > 0 && r.fleet.Moved >= acts[0].at {
			act := acts[0].do
			acts = acts[1:]
			if err := act(); err != nil {
				return err
			}
			if err := r.backlog.fill(r.ctx, r.waiting+slack); err != nil {
				return err
			}
		}
		if err := r.batch(nil); err != nil {
			return err
		}
	}
	return r.finish()
}

// act is something that happens beside the moves, after so many of them.
type act struct {
	at int
	do func() error
}

func (r *run) schedule() []act {
	var acts []act
	spread := func(n int, do func() error) {
		for i := range n {
			at := (2*i + 1) * r.moves / (2 * n)
			acts = append(acts, act{at: max(0, at-r.rng.IntN(1+r.moves/(4*n))), do: do})
		}
	}
	spread(r.kills, r.killLeader)
	spread(r.crashes, r.crash)
	spread(r.leaves, r.leaveAndJoin)
	if r.outage != nil {
		acts = append(acts, act{at: r.moves / 2, do: func() error { return r.outage(r) }})
	}
	slices.SortStableFunc(acts, func(a, b act) int { return a.at - b.at })
	return acts
}

// batch has one plan move partitions, and most often another one change its
// mind while they drain. While is called once the plan is under way.
func (r *run) batch(while func() error) error {
	moving := r.rng.Perm(r.partitions)[:r.perPlan]
	r.retarget(moving)
	if err := r.refresh(); err != nil {
		return err
	}
	if while != nil {
		if err := while(); err != nil {
			return err
		}
	} else if !r.steady && r.rng.IntN(10) < 7 {
		// As soon as the first worker that is to let go has been told so, some of
		// its partitions go elsewhere.
		if err := r.answered(); err != nil {
			return err
		}
		r.retarget(moving[:1+r.rng.IntN(len(moving))])
		if err := r.refresh(); err != nil {
			return err
		}
	}
	if err := r.settle(); err != nil {
		return err
	}
	if err := r.think(); err != nil {
		return err
	}
	return r.backlog.fill(r.ctx, r.waiting+slack)
}

// think waits a moment, in which nothing moves.
func (r *run) think() error {
	end := time.Now().Add(time.Duration(r.rng.Int64N(int64(60 * time.Millisecond))))
	return r.until("", settleLimit, func() bool { return time.Now().After(end) })
}

// retarget gives partitions another target each.
func (r *run) retarget(parts []int) {
	numbers := r.fleet.Numbers()
	for _, p := range parts {
		now := ownerOf(p, r.targets[p], numbers)
		others := slices.DeleteFunc(slices.Clone(numbers), func(n int) bool { return n == now })
		if len(others) > 0 {
			r.targets[p] = others[r.rng.IntN(len(others))]
		}
	}
}

// refresh publishes the targets and has a worker ask for a plan, most often the
// leader.
func (r *run) refresh() error {
	if err := r.publishTargets(); err != nil {
		return err
	}
	return r.ask()
}

func (r *run) ask() error {
	live := r.fleet.Live()
	p := r.fleet.Leader()
	if p == nil || r.rng.IntN(5) == 0 {
		p = live[r.rng.IntN(len(live))]
	}
	p.Asked++
	return p.Say(cmdRefresh)
}

// answered waits until all refreshes are answered, by whoever lives.
func (r *run) answered() error {
	return r.until("the refresh is answered", settleLimit, func() bool {
		return !slices.ContainsFunc(r.fleet.Live(), func(p *crew.Process) bool { return p.Asked > 0 })
	})
}

// settle waits until every partition is where it is to be.
func (r *run) settle() error {
	again := time.Now().Add(askAgain)
	return r.until("every partition is where it is to be", settleLimit, func() bool {
		if settled(r.fleet, r.targets) {
			return true
		}
		if time.Now().After(again) {
			again = time.Now().Add(askAgain)
			_ = r.ask() // a process that ended shows as such
		}
		return false
	})
}

// until takes events until cond holds.
func (r *run) until(what string, limit time.Duration, cond func() bool) error {
	return r.fleet.Until(r.ctx, what, limit, cond)
}

// finish has handlers take no time, waits until nothing is left to handle, and
// asks the server whether that is so.
func (r *run) finish() error {
	for _, p := range r.fleet.Live() {
		if err := p.Say(cmdFast); err != nil {
			return err
		}
	}
	asked, progress, least := time.Now(), time.Now(), -1
	var err error
	stuck := r.until("every message is handled", finishLimit, func() bool {
		if time.Since(asked) < 200*time.Millisecond {
			return false
		}
		var left int
		left, err = r.backlog.total(r.ctx)
		if asked = time.Now(); least < 0 || left < least {
			least, progress = left, asked
		}
		return err != nil || left == 0 || time.Since(progress) > settleLimit
	})
	if err != nil {
		return err
	}
	if stuck != nil {
		r.own.Say("%v", stuck) // what is left is judged
	}
	return r.backlog.left(r.ctx)
}

func (r *run) status() string {
	s := fmt.Sprintf("moved %d of %d; live workers %v", r.fleet.Moved, r.moves, r.fleet.Numbers())
	numbers := r.fleet.Numbers()
	for part, target := range r.targets {
		want := ownerOf(part, target, numbers)
		if p := r.fleet.Procs[r.fleet.Owner[part]]; p == nil || p.Number != want {
			s += fmt.Sprintf("\n  partition %d is owned by process %d, want worker %d", part, r.fleet.Owner[part], want)
		}
	}
	return s
}

// heard takes what only this fleet says.
func (r *run) heard(p *crew.Process, rec oracle.Record) bool {
	switch {
	case rec.Text == sayLeader:
		p.Leader = rec.N == 1
	case strings.HasPrefix(rec.Text, sayRefreshed):
		p.Asked--
		return rec.Text == sayRefreshed
	default:
		return false
	}
	return true
}

// judge reads all histories.
func (r *run) judge() *result {
	records, err := crew.ReadHistories(r.dir, r.fleet.N)
	must(r.t, err)
	v := oracle.Judge(r.partitions, records)
	for i := range v.Orphans {
		for _, l := range r.leaders {
			v.Orphans[i].Leader = v.Orphans[i].Leader || v.Orphans[i].From == l
		}
	}
	res := &result{form: r.form, Verdict: v, took: r.took, notes: r.fleet.Notes, dir: r.dir, kills: len(r.leaders), stall: r.stalls.Worst}
	return res
}

// historyDir is where histories go.
func historyDir(t *testing.T, name string) string {
	t.Helper()
	base := *keep
	if base == "" {
		var err error
		base, err = os.MkdirTemp("", "parti-soak-") //nolint:usetesting // kept when the test fails
		must(t, err)
		t.Cleanup(func() {
			if t.Failed() {
				t.Logf("the histories are kept in %s", base)
				return
			}
			_ = os.RemoveAll(base)
		})
	}
	dir := filepath.Join(base, name)
	must(t, os.MkdirAll(dir, 0o700))
	return dir
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// onServer runs a form on a server of its own: an embedded one, or the program that
// PARTI_NATS_SERVER names.
func onServer(t *testing.T, f form) *result {
	t.Helper()
	if binary := os.Getenv(crew.ServerVariable); binary != "" {
		servers := crew.StartTestServers(t, binary, 1)
		nc, err := nats.Connect(servers.URLs())
		must(t, err)
		defer nc.Close()
		return runForm(t, f, servers.URLs(), nc)
	}
	srv := partitest.StartServer(t)
	return runForm(t, f, srv.URL(), srv.Connect(t))
}
