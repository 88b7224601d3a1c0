package main

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/arloliu/parti"
)

// The short forms run to their end, so that the long ones can be relied on.

func TestCompareShort(t *testing.T) {
	folder := t.TempDir()
	var out bytes.Buffer
	if err := run([]string{"compare", "-short", "-charts", folder}, &out); err != nil {
		t.Fatal(err)
	}
	for _, c := range contenders() {
		if n := strings.Count(out.String(), " "+c.name+" "); n != len(shortSizes)*len(drawers) {
			t.Errorf("%d rows of %s", n, c.name)
		}
	}
	wantCharts(t, folder, "placement-time", "placement-load", "placement-moves")
}

func TestGoalsShort(t *testing.T) {
	var out bytes.Buffer
	err := run([]string{"goals", "-short"}, &out)
	t.Log("\n" + out.String())
	if err != nil {
		t.Error(err)
	}
}

func TestScaleIsDrawn(t *testing.T) {
	folder := t.TempDir()
	file := filepath.Join(folder, "scale.json")
	text := `[{"partitions":1000,"workers":64,"event":"a worker dies","total":0.01,"bytes":1000,"movedBytes":400,"heap":1e6},
		{"partitions":100000,"workers":64,"event":"a worker dies","total":0.2,"bytes":90000,"movedBytes":40000,"heap":2e7},
		{"partitions":100000,"workers":4,"event":"a worker dies","total":0.1,"bytes":80000,"movedBytes":40000,"heap":2e7}]`
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := run([]string{"scale", "-json", file, "-charts", folder}, nil); err != nil {
		t.Fatal(err)
	}
	wantCharts(t, folder, "scale-partitions", "scale-workers")
}

func wantCharts(t *testing.T, folder string, names ...string) {
	t.Helper()
	for _, name := range names {
		for _, kind := range []string{".png", ".svg"} {
			if info, err := os.Stat(filepath.Join(folder, name+kind)); err != nil || info.Size() < 1000 {
				t.Errorf("%s%s was not drawn: %v", name, kind, err)
			}
		}
	}
}

func TestCommandLine(t *testing.T) {
	for _, args := range [][]string{nil, {"win"}} {
		if err := run(args, nil); !errors.Is(err, errUsage) {
			t.Errorf("%q: %v", args, err)
		}
	}
	if err := run([]string{"scale", "-json", "absent"}, nil); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("no file: %v", err)
	}
}

// A contender that loses a partition is not compared.
func TestLostPartitionIsAnError(t *testing.T) {
	f := newFleet(1, 10, 2, equal)
	c := contender{name: "loses", assign: func(workers []string, _ []parti.Partition, _ []string) (result, error) {
		return result{workers[0]: f.parts[1:]}, nil
	}}
	if _, err := measure(c, f, nil); err == nil {
		t.Error("a partition was lost without an error")
	}
}
