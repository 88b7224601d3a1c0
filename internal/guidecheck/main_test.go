package guidecheck

import (
	"log"
	"os"
	"testing"
)

// All paths are from the root of the module.
func TestMain(m *testing.M) {
	if err := os.Chdir("../.."); err != nil {
		log.Fatal(err)
	}
	os.Exit(m.Run())
}
