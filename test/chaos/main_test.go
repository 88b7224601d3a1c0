package chaos

import (
	"flag"
	"fmt"
	"os"
	"testing"
)

// asWorker makes the test binary a worker process.
const asWorker = "PARTI_CHAOS_WORKER"

var (
	faults = flag.Int("faults", 0, "faults to inject, over all modes together; 0 runs nothing")
	seed   = flag.Uint64("seed", 1, "decides the schedule")
	rate   = flag.Int("rate", 600, "messages published a second")
	modes  = flag.String("modes", "available,exclusive", "kinds of ownership, each with its share of the faults")
	nodes  = flag.Int("nodes", 3, "servers; with one, faults of servers are a restart and a full store")
	// What an interest stream holds does not survive restarts of the servers that
	// replicate it: see docs/consuming.md.
	interest = flag.Int("interest", 1, "replicas of the interest stream, at most one on each server")
	keep     = flag.String("keep", "", "folder for histories, kept; by default those of a failure are kept in a temporary one")
)

func TestMain(m *testing.M) {
	if os.Getenv(asWorker) != "" {
		if err := runWorker(os.Stdin, os.Stdout); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}
