//go:build unix

package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/arloliu/parti/cmd/parti/internal/bench"
	partitest "github.com/arloliu/parti/testing"
)

// demoRun is a demo in processes of their own.
type demoRun struct {
	t     *testing.T
	cmd   *exec.Cmd
	lines *bufio.Scanner
	seen  []string
	tmp   string
}

// startDemo starts the demo with these arguments.
func startDemo(t *testing.T, args ...string) *demoRun {
	t.Helper()
	return startCommand(t, append([]string{"demo"}, args...)...)
}

func startCommand(t *testing.T, args ...string) *demoRun {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	r := &demoRun{t: t, tmp: t.TempDir()}
	r.cmd = exec.CommandContext(t.Context(), exe, args...)
	r.cmd.Env = append(os.Environ(), asCommand+"=1", "TMPDIR="+r.tmp)
	r.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	out, err := r.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	r.cmd.Stderr = r.cmd.Stdout
	if err := r.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	r.lines = bufio.NewScanner(out)
	return r
}

// until reads lines up to one that contains what; "" reads to the end.
func (r *demoRun) until(what string) {
	r.t.Helper()
	for r.lines.Scan() {
		r.seen = append(r.seen, r.lines.Text())
		if what != "" && strings.Contains(r.lines.Text(), what) {
			return
		}
	}
	if what != "" {
		r.t.Fatalf("the demo ended before it said %q:\n%s", what, r.output())
	}
}

func (r *demoRun) output() string { return strings.Join(r.seen, "\n") }

// end reads the rest and returns the exit status, after it has checked that
// nothing is left.
func (r *demoRun) end() int {
	r.t.Helper()
	r.until("")
	status := 0
	if err := r.cmd.Wait(); err != nil {
		var exit *exec.ExitError
		if !errors.As(err, &exit) {
			r.t.Fatal(err)
		}
		status = exit.ExitCode()
	}
	for _, pid := range r.processes() {
		if err := syscall.Kill(pid, 0); !errors.Is(err, syscall.ESRCH) {
			r.t.Errorf("process %d is left (%v)", pid, err)
		}
	}
	left, err := os.ReadDir(r.tmp)
	if err != nil {
		r.t.Fatal(err)
	}
	if len(left) > 0 {
		r.t.Errorf("%s is left in the folder of temporary files", left)
	}
	return status
}

var processPattern = regexp.MustCompile(`process (\d+)`)

// processes returns the workers that were named.
func (r *demoRun) processes() []int {
	var out []int
	for _, m := range processPattern.FindAllStringSubmatch(r.output(), -1) {
		if pid, err := strconv.Atoi(m[1]); err == nil {
			out = append(out, pid)
		}
	}
	return out
}

// row returns the number in a row of the tables.
func (r *demoRun) row(name string) string {
	r.t.Helper()
	for _, line := range r.seen {
		if rest, ok := strings.CutPrefix(strings.TrimSpace(line), name+" "); ok {
			return strings.Join(strings.Fields(rest), " ")
		}
	}
	r.t.Errorf("there is no row %q", name)
	return ""
}

// smallTree is 20 folders of 20 files, with a large and a binary one: 402
// messages and 80,000 words.
func smallTree(t *testing.T) string {
	t.Helper()
	files := map[string]string{
		"large":  strings.Repeat("big ", 150_000), // two pieces
		"binary": "\x00",
	}
	for d := range 20 {
		for f := range 20 {
			files[fmt.Sprintf("folder %d/%d.txt", d, f)] = strings.Repeat(fmt.Sprintf("word_%d ", f), 200)
		}
	}
	return tree(t, files)
}

func TestDemoLosesNothing(t *testing.T) {
	if testing.Short() {
		t.Skip("runs processes for about 20 s")
	}
	t.Parallel()
	r := startDemo(t, "--input", smallTree(t), "--pace", "16s", "--workers", "3")
	if status := r.end(); status != 0 {
		t.Fatalf("exit status %d\n%s", status, r.output())
	}
	for name, want := range map[string]string{
		"all words": "230,000 230,000", "big": "150,000 150,000", "different words": "21 21",
		"messages published": "402", "messages counted": "402", "lost": "0", "out of order": "0",
	} {
		if got := r.row(name); got != want {
			t.Errorf("%s: %s, want %s", name, got, want)
		}
	}
	for _, want := range []string{
		"401 text files", "1 binary files left out; 1 files over 512 KiB in several pieces", "402 in 21 partitions",
		"REBALANCE  cold start: 21 partitions get their first owner",
		"REBALANCE  emergency: ", "partitions move, decided by ",
		"every partition has a live owner again", "The fleet counted what one process counts: 230,000 words.",
	} {
		if !strings.Contains(r.output(), want) {
			t.Errorf("it does not say %q", want)
		}
	}
	// Both disturbances happen with a quarter to three fifths of the work done.
	disturbed := regexp.MustCompile(`(KILL|JOIN) .* at ([\d.]+) % with (\d+) messages in flight`).FindAllStringSubmatch(r.output(), -1)
	if len(disturbed) != 2 {
		t.Errorf("disturbed %q", disturbed)
	}
	for _, d := range disturbed {
		if at, err := strconv.ParseFloat(d[2], 64); err != nil || at < 25 || at > 60 {
			t.Errorf("%s at %s %%", d[1], d[2])
		}
	}
	if strings.Contains(r.output(), "input too small") {
		t.Error("it says that the input is too small")
	}
	if t.Failed() {
		t.Log(r.output())
	}
}

func TestDemoFindsPlantedLoss(t *testing.T) {
	if testing.Short() {
		t.Skip("runs processes for about 8 s")
	}
	t.Parallel()
	r := startDemo(t, "--input", smallTree(t), "--pace", "0s", "--workers", "2", "--calm", "--plant-loss", "50")
	if status := r.end(); status != exitFailure {
		t.Errorf("exit status %d, want %d", status, exitFailure)
	}
	if lost := r.row("lost"); lost == "0" {
		t.Errorf("lost %s", lost)
	}
	for _, want := range []string{
		"every message is acknowledged, and ", errDiffers.Error(), "messages lost, the first of them piece ", "words counted, one process counts 230,000",
	} {
		if !strings.Contains(r.output(), want) {
			t.Errorf("it does not say %q", want)
		}
	}
	if t.Failed() {
		t.Log(r.output())
	}
}

func TestDemoLeavesNothingInNATS(t *testing.T) {
	if testing.Short() {
		t.Skip("runs processes for about 5 s")
	}
	t.Parallel()
	nc := partitest.StartEmbeddedNATS(t)
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	r := startDemo(t, "--input", smallTree(t), "--pace", "0s", "--workers", "2", "--calm", "--nats", nc.ConnectedUrl())
	if status := r.end(); status != 0 {
		t.Errorf("exit status %d\n%s", status, r.output())
	}
	names := js.StreamNames(t.Context())
	for name := range names.Name() {
		t.Errorf("stream %s is left", name)
	}
	if names.Err() != nil {
		t.Error(names.Err())
	}
}

func TestDemoNeedsJetStream(t *testing.T) {
	if testing.Short() {
		t.Skip("runs processes")
	}
	t.Parallel()
	nc := partitest.StartEmbeddedNATS(t, partitest.WithoutJetStream())
	r := startDemo(t, "--input", smallTree(t), "--nats", nc.ConnectedUrl())
	if status := r.end(); status != exitFailure || !strings.Contains(r.output(), "has no JetStream for us") {
		t.Errorf("exit status %d\n%s", status, r.output())
	}
}

func TestDemoEndsOnSignals(t *testing.T) {
	if testing.Short() {
		t.Skip("runs processes for about 4 s each")
	}
	tests := []struct {
		name   string
		signal syscall.Signal
		group  bool // as a terminal does it: to the workers as well
		when   string
	}{
		{"Ctrl-C", syscall.SIGINT, true, "publishing begins"},
		{"termination of the parent", syscall.SIGTERM, false, "publishing begins"},
		{"Ctrl-C while the fleet forms", syscall.SIGINT, true, "  pace "},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			r := startDemo(t, "--input", smallTree(t))
			r.until(tt.when)
			pid := r.cmd.Process.Pid
			if tt.group {
				pid = -pid
			}
			if err := syscall.Kill(pid, tt.signal); err != nil {
				t.Fatal(err)
			}
			if status := r.end(); status != exitInterrupted {
				t.Errorf("exit status %d, want %d", status, exitInterrupted)
			}
			if !strings.Contains(r.output(), "interrupted; nothing is left running") || strings.Contains(r.output(), ": killed") {
				t.Errorf("it says\n%s", r.output())
			}
		})
	}
}

func TestBenchScale(t *testing.T) {
	if testing.Short() {
		t.Skip("runs processes for about 15 s")
	}
	t.Parallel()
	file := filepath.Join(t.TempDir(), "scale.json")
	r := startCommand(t, "bench", "scale", "--sizes", "600x6", "--runs", "1", "--hosts", "2", "--report-only", "--json", file)
	if status := r.end(); status != 0 {
		t.Errorf("status %d:\n%s", status, r.output())
	}
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var figures []bench.ScaleFigure
	if err := json.Unmarshal(text, &figures); err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, f := range figures {
		got = append(got, f.Event)
		// What a value takes and says; how long it took depends on the machine.
		if f.Total <= 0 || f.Moved < 90 || f.Values < 5 || f.MaxValue < 100 || f.MaxValue > f.Bytes || f.HeadBytes > 6*128 ||
			f.Event != bench.ScaleJoin && f.Bytes > 3*f.MovedBytes+6*128 || f.OutMsgs < int64(f.Values) {
			t.Errorf("figure %+v", f)
		}
	}
	if want := []string{bench.ScaleCold, bench.ScaleLeave, bench.ScaleJoin}; !slices.Equal(got, want) {
		t.Errorf("events %q, want %q", got, want)
	}
}

func TestBench(t *testing.T) {
	if testing.Short() {
		t.Skip("runs processes for about 10 s")
	}
	t.Parallel()
	file := filepath.Join(t.TempDir(), "rows.json")
	r := startCommand(t, "bench", "--workers", "3", "--partitions", "30", "--only", "cold,kill", "--runs", "1",
		"--short", "--report-only", "--verbose", "--json", file)
	if status := r.end(); status != 0 {
		t.Errorf("status %d:\n%s", status, r.output())
	}
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var rows []bench.Row
	if err := json.Unmarshal(text, &rows); err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, row := range rows {
		got = append(got, row.What)
		if row.Workers != 3 || len(row.Samples) != 1 || row.Median <= 0 || row.Median > 60 {
			t.Errorf("row %+v", row)
		}
		if m := row.Moves; m != nil && (m.Moved < 1 || m.Moved != m.Least || m.Others != 0) {
			t.Errorf("%s: moves %+v", row.What, *m)
		}
	}
	if want := []string{"cold start", "SIGKILL of a follower", "SIGKILL of the leader"}; !slices.Equal(got, want) {
		t.Errorf("rows %q, want %q", got, want)
	}
}
