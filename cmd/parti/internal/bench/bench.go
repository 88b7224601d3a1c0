// Package bench measures fleets of worker processes on a NATS server in a process
// of its own: how long partitions stay without an owner when workers come and go,
// what moves, and what an idle fleet costs.
package bench

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"time"

	"github.com/arloliu/parti"
)

// Options say what to measure.
type Options struct {
	// NATS is the URL of the user's server; "" starts one.
	NATS string
	// Monitor is the base URL of the HTTP monitor of the user's server, and
	// ServerPID its process; without them its messages and its processor time
	// are not known.
	Monitor   string
	ServerPID int
	// Workers are the sizes of the fleets.
	Workers    []int
	Partitions int
	// Runs of the rows about killed workers.
	Runs int
	// Short measures less of everything; Long has 200 workers idle for ten
	// minutes as well.
	Short, Long bool
	// Only are the names of the parts to measure; all when empty.
	Only []string
	// ReportOnly makes a missed goal no error.
	ReportOnly bool
	// Verbose shows what every worker reports.
	Verbose bool
	// JSON is the file to write the rows to as well.
	JSON string
}

// Parts are the names for Options.Only.
var Parts = []string{"cold", "idle", "kill", "stop", "leave", "rolling", "server", "memory", "drop", "plain", "fast", "long"}

// ErrMissed is returned when a goal was missed.
var ErrMissed = errors.New("goals were missed")

// The profiles beside the default.
var (
	defaultProfile = profile{}
	plainProfile   = profile{name: "plain nats.Connect", connect: connect{Plain: true}}
	fastProfile    = profile{name: "fast profile", connect: connect{Wait: 100 * time.Millisecond}, config: parti.Config{
		HeartbeatInterval:    250 * time.Millisecond,
		HeartbeatTTL:         750 * time.Millisecond,
		EmergencyGracePeriod: 100 * time.Millisecond,
	}}
)

// profileWorkers is the size of the fleets of other profiles; the long form has
// small and large ones too.
const profileWorkers = 16

var longProfileWorkers = []int{2, profileWorkers, 64}

// bench is one run.
type bench struct {
	opts  Options
	out   io.Writer
	begun time.Time
	srv   *natsServer
	rows  []Row
	// stalls are watched in the short form, which runs where others work too.
	stalls *stalls
}

// Run measures and prints the table.
func Run(ctx context.Context, opts Options, out io.Writer) (err error) {
	b := &bench{opts: opts, out: out, begun: time.Now()}
	if b.srv, err = openServer(ctx, opts); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, b.srv.close()) }()
	if opts.Short {
		b.stalls = watchStalls()
		defer b.stalls.close()
	}
	b.print("parti bench: %d partitions, fleets of %v, nats-server %s in a process of its own, %d processors%s\n",
		opts.Partitions, opts.Workers, b.srv.nc.ConnectedServerVersion(), runtime.NumCPU(), load())
	err = b.measure(ctx)
	if len(b.rows) > 0 {
		b.print("\n")
		err = errors.Join(err, writeTable(out, b.rows), b.writeJSON())
	}
	if err != nil {
		return err
	}
	if opts.Short {
		b.print("\nThe short form bears times of twice the goal and a second, processor time of twice and memory of\n"+
			"one and a half times the goal, and any row during which the machine stood still for %v.\n", longStall)
	}
	b.print("\n%d rows in %s\n", len(b.rows), time.Since(b.begun).Round(time.Second))
	return judge(b.rows, opts.ReportOnly)
}

// judge makes an error of missed goals.
func judge(rows []Row, reportOnly bool) error {
	missed := 0
	for _, r := range rows {
		if !r.OK && !r.Bearable {
			missed++
		}
	}
	if missed > 0 && !reportOnly {
		return fmt.Errorf("%w: %d of %d rows", ErrMissed, missed, len(rows))
	}
	return nil
}

func (b *bench) wants(part string) bool {
	return len(b.opts.Only) == 0 || slices.Contains(b.opts.Only, part)
}

func (b *bench) measure(ctx context.Context) error {
	if b.wants("memory") {
		if err := b.memory(ctx); err != nil {
			return fmt.Errorf("memory: %w", err)
		}
	}
	for _, n := range b.opts.Workers {
		if !slices.ContainsFunc([]string{"cold", "idle", "kill", "stop", "leave", "rolling", "server"}, b.wants) {
			break
		}
		if err := b.fleet(ctx, n); err != nil {
			return fmt.Errorf("%d workers: %w", n, err)
		}
	}
	if b.wants("drop") {
		if err := b.drops(ctx); err != nil {
			return fmt.Errorf("drop: %w", err)
		}
	}
	// It takes as long as it promises, which the short form has no time for.
	if b.wants("plain") && (!b.opts.Short || len(b.opts.Only) > 0) {
		if err := b.otherProfile(ctx, plainProfile, plainGoal); err != nil {
			return fmt.Errorf("%s: %w", plainProfile.name, err)
		}
	}
	if b.wants("fast") {
		if err := b.otherProfile(ctx, fastProfile, fastGoal); err != nil {
			return fmt.Errorf("%s: %w", fastProfile.name, err)
		}
	}
	if b.opts.Long && b.wants("long") {
		if err := b.long(ctx); err != nil {
			return fmt.Errorf("long idle: %w", err)
		}
	}
	return nil
}

// fleet measures a fleet of n in the default configuration.
func (b *bench) fleet(ctx context.Context, n int) (err error) {
	t, err := b.cold(ctx, n)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, t.close(ctx)) }()
	for _, part := range []struct {
		name string
		do   func(context.Context, *team, int) error
	}{
		{"idle", b.idle},
		{"kill", func(ctx context.Context, t *team, n int) error {
			return b.kills(ctx, t, n, b.runs(n), followerGoal, leaderGoal, "")
		}},
		{"stop", b.stops},
		{"leave", b.leaves},
		{"rolling", b.rolling},
		{"server", b.restart},
	} {
		if !b.wants(part.name) || b.skips(part.name, n) {
			continue
		}
		if err := part.do(ctx, t, n); err != nil {
			return fmt.Errorf("%s: %w", part.name, err)
		}
	}
	return nil
}

// skips tells what the short form leaves to the largest of its fleets.
func (b *bench) skips(part string, n int) bool {
	return b.opts.Short && n < slices.Max(b.opts.Workers) && slices.Contains([]string{"stop", "leave", "server"}, part)
}

// runs is how often a worker of each kind is killed in a fleet of n.
func (b *bench) runs(n int) int {
	if n > 64 {
		return min(b.opts.Runs, 3)
	}
	return b.opts.Runs
}

// add takes rows and says that they are there.
func (b *bench) add(rows ...Row) {
	if b.stalls != nil {
		stall := b.stalls.take()
		for i := range rows {
			rows[i] = rows[i].bear(stall)
		}
	}
	b.rows = append(b.rows, rows...)
	for _, r := range rows {
		b.say("%d workers, %s: median %s, worst %s %s %s", r.Workers, r.What, number(r.Median), number(r.Worst), r.Unit, r.verdict())
	}
}

func (b *bench) say(format string, args ...any) {
	b.print("%7.1fs  %s\n", time.Since(b.begun).Seconds(), fmt.Sprintf(format, args...))
}

// debug is for who wants to know why.
func (b *bench) debug(format string, args ...any) {
	if b.opts.Verbose {
		b.say(format, args...)
	}
}

func (b *bench) print(format string, args ...any) { _, _ = fmt.Fprintf(b.out, format, args...) }

func (b *bench) writeJSON() error { return writeFile(b.opts.JSON, b.rows) }

// writeFile writes what was measured as JSON, unless the name is empty.
func writeFile(name string, measured any) error {
	if name == "" {
		return nil
	}
	text, err := json.MarshalIndent(measured, "", "  ")
	if err != nil {
		return fmt.Errorf("write %s: %w", name, err)
	}
	if err := os.MkdirAll(filepath.Dir(name), 0o750); err != nil {
		return err
	}
	return os.WriteFile(name, append(text, '\n'), 0o600)
}

// load is the load of the machine, where that is known.
func load() string {
	text, err := os.ReadFile("/proc/loadavg")
	if err != nil {
		return ""
	}
	if i := slices.Index(text, ' '); i > 0 {
		text = text[:i]
	}
	return ", load " + string(text)
}
