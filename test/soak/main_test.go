package soak

import (
	"flag"
	"fmt"
	"os"
	"testing"

	"go.uber.org/goleak"
)

// asWorker makes the test binary a worker process.
const asWorker = "PARTI_SOAK_WORKER"

var (
	moves  = flag.Int("moves", 0, "planned moves, over all streams together; 0 runs the smoke test only")
	kills  = flag.Int("kills", 0, "processes killed under load; 0 leaves that run out")
	pauses = flag.Int("pauses", 0, "planned moves whose pauses are measured; 0 leaves that run out")
	r3     = flag.Bool("r3", false, "run on three nodes, of which one is restarted")
	seed   = flag.Uint64("seed", 1, "decides the schedule")
	keep   = flag.String("keep", "", "folder for histories, kept; by default those of a failure are kept in a temporary one")
)

func TestMain(m *testing.M) {
	if os.Getenv(asWorker) != "" {
		if err := runWorker(os.Stdin, os.Stdout); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	goleak.VerifyTestMain(m)
}
