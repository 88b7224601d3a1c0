package wall

import (
	"os"
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) {
	if url := os.Getenv(workerURL); url != "" { // this process is a worker of a test
		os.Exit(workerMain(url))
	}
	goleak.VerifyTestMain(m)
}
