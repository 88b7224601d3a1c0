package guidecheck

import (
	"log"
	"os"
	"testing"

	"go.uber.org/goleak"
)

// All paths are from the root of the module.
func TestMain(m *testing.M) {
	if err := os.Chdir("../.."); err != nil {
		log.Fatal(err)
	}
	goleak.VerifyTestMain(m)
}
