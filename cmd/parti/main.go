// Command parti shows what the library does: parti demo divides real work among
// a fleet of processes, kills one of them, lets another join, and checks that
// nothing was lost.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime"
	"runtime/debug"
	"slices"
	"syscall"
	"time"

	"github.com/urfave/cli/v3"

	"github.com/arloliu/parti/cmd/parti/internal/bench"
)

// Exit statuses.
const (
	exitFailure     = 1
	exitInterrupted = 130
)

func main() {
	os.Exit(run(os.Args, os.Stdout, os.Stderr))
}

// run runs the command line and returns the exit status.
func run(args []string, stdout, stderr io.Writer) int {
	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	if len(args) < 2 || !slices.ContainsFunc(children, func(c child) bool { return c.name == args[1] }) {
		// The first signal ends the demo in good order, the second at once: the
		// handler is gone by then.
		ctx, stop = signal.NotifyContext(ctx, os.Interrupt, syscall.SIGTERM)
		defer stop()
		context.AfterFunc(ctx, stop)
	}
	err := command(stdout, stderr).Run(ctx, args)
	switch {
	case err == nil:
		return 0
	case errors.Is(err, context.Canceled) && ctx.Err() != nil:
		_, _ = fmt.Fprintln(stderr, "parti: interrupted; nothing is left running")
		return exitInterrupted
	}
	_, _ = fmt.Fprintf(stderr, "parti: %v\n", err)
	return exitFailure
}

func command(stdout, stderr io.Writer) *cli.Command {
	return &cli.Command{
		Name:      "parti",
		Usage:     "divide partitions among a fleet over NATS",
		Writer:    stdout,
		ErrWriter: stderr,
		// Errors are printed once, by run.
		ExitErrHandler: func(context.Context, *cli.Command, error) {},
		Action: func(_ context.Context, c *cli.Command) error {
			if c.Args().Present() {
				return fmt.Errorf("unknown command %q: see parti --help", c.Args().First())
			}
			return cli.ShowAppHelp(c)
		},
		Commands: append(childCommands(stdout),
			demoCommand(stdout),
			benchCommand(stdout),
			decodeCommand(stdout),
			&cli.Command{
				Name:  "version",
				Usage: "print the version",
				Action: func(context.Context, *cli.Command) error {
					_, err := fmt.Fprintln(stdout, version())
					return err
				},
			},
		),
	}
}

// child is a command that this program starts itself with. It reads what it is to
// do from its standard input and ends with it.
type child struct {
	name string
	run  func(context.Context, io.Reader, io.Writer) error
}

var children = []child{
	{workerCommand, runWorker},
	{bench.WorkerCommand, bench.RunWorker},
	{bench.ServerCommand, bench.RunServer},
	{bench.MemoryCommand, bench.RunMemory},
	{bench.HostCommand, bench.RunHost},
}

func childCommands(stdout io.Writer) []*cli.Command {
	var commands []*cli.Command
	for _, c := range children {
		commands = append(commands, &cli.Command{
			Name:   c.name,
			Usage:  "a process of the demo or the benchmark, started by it",
			Hidden: true,
			Action: func(ctx context.Context, _ *cli.Command) error { return c.run(ctx, os.Stdin, stdout) },
		})
	}
	return commands
}

func demoCommand(stdout io.Writer) *cli.Command {
	return &cli.Command{
		Name:  "demo",
		Usage: "count the words of a tree of files with a fleet of processes, one of which is killed",
		Description: `Publishes the text files of a folder into a JetStream stream, one partition per
top-level folder, and starts worker processes, each a parti.Manager, that count
their words. On the way one worker is killed with SIGKILL and one joins. In the
end the totals are compared with those of one process over the same files; the
exit status is 1 when they differ.

Without --nats it starts a NATS server of its own on loopback and removes it.`,
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "nats", Usage: "`URL` of a NATS server with JetStream, instead of an embedded one"},
			&cli.StringFlag{Name: "input", Usage: "`DIR` of text files, instead of the Go toolchain's source"},
			&cli.IntFlag{Name: "workers", Value: 4, Usage: "worker processes to begin with"},
			&cli.DurationFlag{Name: "pace", Value: 28 * time.Second, Usage: "time over which publishing is spread; 0 is as fast as it goes"},
			&cli.BoolFlag{Name: "kill-leader", Usage: "kill the leader instead of a follower"},
			&cli.BoolFlag{Name: "calm", Usage: "kill nobody and let nobody join"},
			&cli.DurationFlag{Name: "planned-scale-window", Value: 2 * time.Second, Usage: "Config.PlannedScaleWindow of the workers"},
			&cli.DurationFlag{Name: "min-rebalance-interval", Value: 2 * time.Second, Usage: "Config.Assignment.MinRebalanceInterval of the workers"},
			&cli.DurationFlag{Name: "ack-wait", Value: 5 * time.Second, Usage: "AckWait of the consumers"},
			&cli.StringFlag{Name: "metrics", Usage: "serve metrics and health of each worker on a free port of `HOST`, and say which"},
			&cli.BoolFlag{Name: "verbose", Aliases: []string{"v"}, Usage: "show every change of state and what the workers log"},
			&cli.IntFlag{Name: "plant-loss", Hidden: true, Usage: "make every worker lose each so many-th message, to see the demo fail"},
		},
		Action: func(ctx context.Context, c *cli.Command) error {
			if c.Args().Present() {
				return fmt.Errorf("demo takes no arguments, got %q: name a folder with --input", c.Args().Slice())
			}
			opts := demoOptions{
				nats:    c.String("nats"),
				input:   c.String("input"),
				workers: c.Int("workers"),
				pace:    c.Duration("pace"),
				calm:    c.Bool("calm"),
				verbose: c.Bool("verbose"),
				metrics: c.String("metrics"),

				killLeader: c.Bool("kill-leader"),
				windows: windows{
					PlannedScaleWindow:   c.Duration("planned-scale-window"),
					MinRebalanceInterval: c.Duration("min-rebalance-interval"),
					AckWait:              c.Duration("ack-wait"),
				},
				dropEvery: c.Int("plant-loss"),
			}
			if err := opts.check(); err != nil {
				return err
			}
			return runDemo(ctx, opts, stdout)
		},
	}
}

// check reports every flag that cannot be used.
func (o demoOptions) check() error {
	var errs []error
	if o.workers < 1 || o.workers > 64 || !o.calm && o.workers < 2 {
		errs = append(errs, fmt.Errorf("--workers %d: 2 to 64, or 1 with --calm, since one is killed", o.workers))
	}
	if o.pace < 0 {
		errs = append(errs, fmt.Errorf("--pace %s: not negative", o.pace))
	}
	for name, d := range map[string]time.Duration{
		"planned-scale-window":   o.windows.PlannedScaleWindow,
		"min-rebalance-interval": o.windows.MinRebalanceInterval,
		"ack-wait":               o.windows.AckWait,
	} {
		if d <= 0 {
			errs = append(errs, fmt.Errorf("--%s %s: more than zero", name, d))
		}
	}
	return errors.Join(errs...)
}

// version is that of the build.
func version() string {
	v := "(devel)"
	if info, ok := debug.ReadBuildInfo(); ok && info.Main.Version != "" {
		v = info.Main.Version
	}
	return fmt.Sprintf("parti %s, %s %s/%s", v, runtime.Version(), runtime.GOOS, runtime.GOARCH)
}
