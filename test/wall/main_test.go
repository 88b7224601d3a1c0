package wall

import (
	"fmt"
	"os"
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) {
	if url := os.Getenv(workerURL); url != "" { // this process is a worker of a test
		os.Exit(workerMain(url))
	}
	if store := os.Getenv(storeEnv); store != "" { // likewise, one that writes to a store
		if err := workForStore(store, os.Getenv(natsEnv)); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	if description := os.Getenv(nodeEnv); description != "" { // likewise, a NATS server
		if err := runNode(description); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	goleak.VerifyTestMain(m)
}
