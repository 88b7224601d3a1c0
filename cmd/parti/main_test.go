package main

import (
	"bytes"
	"os"
	"strings"
	"testing"

	"go.uber.org/goleak"

	"github.com/arloliu/parti/internal/onecpu"
)

// asCommand makes the test binary the command itself, for the tests that need
// processes. The workers inherit it.
const asCommand = "PARTI_TEST_AS_COMMAND"

func TestMain(m *testing.M) {
	if os.Getenv(asCommand) != "" {
		main()
	}
	onecpu.InRace()
	goleak.VerifyTestMain(m)
}

func TestCommandLine(t *testing.T) {
	const noFile = "/does/not/exist"
	tests := []struct {
		args           string
		status         int
		stdout, stderr string // what they contain
	}{
		{"--help", 0, "demo", ""},
		{"demo --help", 0, "--input DIR", ""},
		{"", 0, "demo", ""},
		{"version", 0, "parti ", ""},
		{"demo --input " + noFile, 1, "", "parti: input: lstat /does: no such file"},
		{"demo --workers 1", 1, "", "--workers 1: 2 to 64, or 1 with --calm, since one is killed"},
		{"demo --calm --workers 0", 1, "", "--workers 0: 2 to 64"},
		{"demo --pace -1s --ack-wait 0s", 1, "", "--pace -1s: not negative\n--ack-wait 0s: more than zero"},
		{"demo folder", 1, "", "demo takes no arguments"},
		{"demo --nats nats://127.0.0.1:1 --input .", 1, "", "no NATS at nats://127.0.0.1:1: "},
		{"demo --nats nats://me:secret@127.0.0.1:1 --input .", 1, "", "no NATS at nats://me:xxxxx@127.0.0.1:1: "},
		{"bench --help", 0, "--only PARTS", ""},
		{"bench --workers 1", 1, "", "--workers 1: 2 to 500"},
		{"bench --workers 16 --partitions 60", 1, "", "--partitions 60: at least 5 for each of 16"},
		{"bench --only kill,thrill", 1, "", "--only thrill: not among cold"},
		{"bench --short --long", 1, "", "--short and --long: one of them"},
		{"bench --server-pid 1", 1, "", "go with --nats"},
		{"bench scale --help", 0, "--sizes SIZES", ""},
		{"bench scale --sizes 10000x64,12", 1, "", `size "12": want PARTITIONSxWORKERS`},
		{"bench scale --sizes 10x64", 1, "", `size "10x64"`},
		{"bench scale --sizes 10x3", 1, "", `size "10x3"`},
		{"bench scale --runs 0", 1, "", "at least 1"},
		{"bench scale 64", 1, "", "takes no arguments"},
		{"bench --nats nats://127.0.0.1:1", 1, "", "connect to NATS"},
		{"demo --unknown", 1, "", "flag provided but not defined: -unknown"},
		{"unknown", 1, "", `unknown command "unknown"`},
	}
	for _, tt := range tests {
		t.Run(tt.args, func(t *testing.T) {
			var stdout, stderr bytes.Buffer
			status := run(append([]string{"parti"}, strings.Fields(tt.args)...), &stdout, &stderr)
			if status != tt.status || !strings.Contains(stdout.String(), tt.stdout) || !strings.Contains(stderr.String(), tt.stderr) {
				t.Errorf("status %d, want %d\nstdout: %s\nstderr: %s", status, tt.status, &stdout, &stderr)
			}
			for _, c := range children {
				if strings.Contains(stdout.String(), c.name) {
					t.Errorf("the hidden command %s shows", c.name)
				}
			}
		})
	}
}
