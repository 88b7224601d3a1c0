package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/urfave/cli/v3"

	"github.com/arloliu/parti/cmd/parti/internal/bench"
)

func benchCommand(stdout io.Writer) *cli.Command {
	return &cli.Command{
		Name:  "bench",
		Usage: "measure fleets of worker processes: recovery, moves, and what an idle fleet costs",
		Description: `Starts fleets of worker processes and a NATS server, each a process of its own,
has workers join, leave, hang and die, and prints one table with the median and
the worst of several runs beside the goal of each row. The exit status is 1 when
a goal is missed.

The figures are worth what the machine is: leave it alone meanwhile. With --nats
it measures your own servers and leaves nothing there; how many messages they
get and what processor time they take shows only with --monitor and
--server-pid, and they are not restarted.`,
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "nats", Usage: "`URL` of NATS servers with JetStream, instead of a server of its own"},
			&cli.StringFlag{Name: "monitor", Usage: "base `URL` of that server's HTTP monitor"},
			&cli.IntFlag{Name: "server-pid", Usage: "process `ID` of that server, on this machine"},
			&cli.BoolFlag{Name: "short", Usage: "4 and 16 workers, fewer runs and parts, five minutes; what the machine explains is borne"},
			&cli.BoolFlag{Name: "long", Usage: "20 runs of the rows about killed workers, fleets of 2 as well, and 200 workers idle for 10 minutes"},
			&cli.IntSliceFlag{Name: "workers", Usage: "`SIZES` of the fleets (4, 16, 64 and 200; long 2 as well)"},
			&cli.IntFlag{Name: "partitions", Value: 1000, Usage: "partitions to be divided"},
			&cli.IntFlag{Name: "runs", Usage: "`N` runs of the rows about killed workers (5; short 2, long 20)"},
			&cli.StringSliceFlag{Name: "only", Usage: "`PARTS` to measure: " + strings.Join(bench.Parts, ", ")},
			&cli.StringFlag{Name: "json", Usage: "`FILE` to write the rows to as well"},
			&cli.BoolFlag{Name: "verbose", Aliases: []string{"v"}, Usage: "show what every worker reports"},
			&cli.BoolFlag{Name: "report-only", Usage: "exit with 0 though goals are missed"},
		},
		Commands: []*cli.Command{scaleCommand(stdout)},
		Action: func(ctx context.Context, c *cli.Command) error {
			if c.Args().Present() {
				return fmt.Errorf("bench takes no arguments, got %q", c.Args().Slice())
			}
			opts := bench.Options{
				NATS: c.String("nats"), Monitor: strings.TrimSuffix(c.String("monitor"), "/"), ServerPID: c.Int("server-pid"),
				Workers: c.IntSlice("workers"), Partitions: c.Int("partitions"), Runs: c.Int("runs"),
				Short: c.Bool("short"), Long: c.Bool("long"), Only: c.StringSlice("only"),
				ReportOnly: c.Bool("report-only"), JSON: c.String("json"), Verbose: c.Bool("verbose"),
			}
			benchDefaults(&opts)
			if err := checkBench(opts); err != nil {
				return err
			}
			return bench.Run(ctx, opts, stdout)
		},
	}
}

// benchDefaults fills what depends on the form.
func benchDefaults(o *bench.Options) {
	runs, workers := 5, []int{4, 16, 64, 200}
	switch {
	case o.Short:
		runs, workers = 2, []int{4, 16}
	case o.Long:
		runs, workers = 20, []int{2, 4, 16, 64, 200}
	}
	if o.Runs == 0 {
		o.Runs = runs
	}
	if len(o.Workers) == 0 {
		o.Workers = workers
	}
}

// checkBench reports every flag that cannot be used.
func checkBench(o bench.Options) error {
	var errs []error
	for _, n := range o.Workers {
		if n < 2 || n > 500 {
			errs = append(errs, fmt.Errorf("--workers %d: 2 to 500", n))
		}
		if o.Partitions < 5*n {
			errs = append(errs, fmt.Errorf("--partitions %d: at least 5 for each of %d workers, so that nobody is left without", o.Partitions, n))
		}
	}
	if o.Runs < 0 {
		errs = append(errs, fmt.Errorf("--runs %d: not negative", o.Runs))
	}
	for _, part := range o.Only {
		if !slices.Contains(bench.Parts, part) {
			errs = append(errs, fmt.Errorf("--only %s: not among %s", part, strings.Join(bench.Parts, ", ")))
		}
	}
	if o.Short && o.Long {
		errs = append(errs, errors.New("--short and --long: one of them"))
	}
	if o.NATS == "" && (o.Monitor != "" || o.ServerPID != 0) {
		errs = append(errs, errors.New("--monitor and --server-pid go with --nats"))
	}
	return errors.Join(errs...)
}

// scaleSizes are those that show how cost grows with the list and with the fleet.
var scaleSizes = []string{
	"1000x64", "10000x64", "100000x64", "1000000x64",
	"100000x4", "100000x16", "100000x256", "100000x1000", "1000000x1000",
}

func scaleCommand(stdout io.Writer) *cli.Command {
	return &cli.Command{
		Name:  "scale",
		Usage: "measure how plans reach up to 1,000 workers for up to 1,000,000 partitions",
		Description: `Starts a NATS server, the leader, and one worker that dies and is replaced, each in
a process of its own, and all other workers in a few processes. It prints how long
it takes from the verdict until every worker that a plan affects has its new
assignment in force, what is written and sent for that, and what memory the
leader takes beside the list of its source.`,
		Flags: []cli.Flag{
			&cli.StringSliceFlag{Name: "sizes", Value: scaleSizes, Usage: "`SIZES` to measure, such as 10000x64: partitions x workers"},
			&cli.IntFlag{Name: "runs", Value: 3, Usage: "`N` workers that die and join per size"},
			&cli.IntFlag{Name: "hosts", Value: 8, Usage: "`N` processes that share the workers"},
			&cli.StringFlag{Name: "json", Usage: "`FILE` to write the figures to as well"},
			&cli.BoolFlag{Name: "verbose", Aliases: []string{"v"}, Usage: "show more"},
			&cli.BoolFlag{Name: "report-only", Usage: "exit with 0 though goals are missed"},
		},
		Action: func(ctx context.Context, c *cli.Command) error {
			if c.Args().Present() {
				return fmt.Errorf("bench scale takes no arguments, got %q", c.Args().Slice())
			}
			sizes, err := bench.ParseScaleSizes(c.StringSlice("sizes"))
			if err != nil {
				return err
			}
			runs, hosts := c.Int("runs"), c.Int("hosts")
			if runs < 1 || hosts < 1 {
				return fmt.Errorf("--runs %d, --hosts %d: at least 1", runs, hosts)
			}
			return bench.RunScale(ctx, bench.ScaleOptions{
				Sizes: sizes, Runs: runs, Hosts: hosts, JSON: c.String("json"),
				ReportOnly: c.Bool("report-only"), Verbose: c.Bool("verbose"),
			}, stdout)
		},
	}
}
