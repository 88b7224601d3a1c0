package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
)

func main() {
	if err := run(os.Args[1:], os.Stdout); err != nil {
		fmt.Fprintf(os.Stderr, "bench: %v\n", err)
		os.Exit(1)
	}
}

var errUsage = errors.New("want one of compare, goals and scale, and -h for its flags")

func run(args []string, out io.Writer) error {
	if len(args) == 0 {
		return errUsage
	}
	flags := flag.NewFlagSet(args[0], flag.ContinueOnError)
	charts := flags.String("charts", "", "draw charts into this `folder`")
	short := flags.Bool("short", false, "small sizes, some seconds")
	seed := flags.Uint64("seed", 41_000, "of the first of the random fleets; none that the design was tuned with lies above 10,000")
	largest := flags.Int("largest", 1_000_000, "leave out sizes with more `partitions`")
	seeds := flags.Uint64("seeds", 10, "how many of them for each goal")
	file := flags.String("json", "", "`file` that parti bench scale has written")
	if err := flags.Parse(args[1:]); err != nil {
		return err
	}
	switch args[0] {
	case "compare":
		return compare(out, *short, *largest, *seed, *charts)
	case "goals":
		return goals(out, *short, *seed, *seeds)
	case "scale":
		return drawScale(*file, *charts)
	}
	return errUsage
}
