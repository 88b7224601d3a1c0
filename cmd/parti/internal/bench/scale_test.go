package bench

import (
	"slices"
	"strings"
	"testing"
)

func TestScaleGoals(t *testing.T) {
	good := ScaleFigure{
		Partitions: 10_000, Workers: 64, Event: ScaleLeave, Total: 0.05, Moved: 100, MovedBytes: 3000,
		Bytes: 9000 + 64*128, MaxValue: 256 << 10, HeadBytes: 64 * 128,
	}
	large := good
	large.Partitions, large.Workers, large.Total, large.Heap = 1_000_000, 1000, 2, 250e6
	other := good
	other.Partitions, other.Total, other.Heap = 20_000, 60, 1e9
	if missed := missedScale([]ScaleFigure{good, large, other}); missed != nil {
		t.Errorf("missed %q", missed)
	}
	for want, spoil := range map[string]func(f *ScaleFigure){
		"a value of":              func(f *ScaleFigure) { f.MaxValue++ },
		"a head of":               func(f *ScaleFigure) { f.HeadBytes++ },
		"bytes written":           func(f *ScaleFigure) { f.Bytes++ },
		"0.051 s, more than 0.05": func(f *ScaleFigure) { f.Total = 0.051 },
	} {
		f := good
		spoil(&f)
		if missed := missedScale([]ScaleFigure{f}); len(missed) != 1 || !strings.Contains(missed[0], want) {
			t.Errorf("missed %q, want %q", missed, want)
		}
	}
	large.Heap *= 1.01
	if missed := missedScale([]ScaleFigure{large}); len(missed) != 1 || !strings.Contains(missed[0], "MB beside") {
		t.Errorf("missed %q", missed)
	}
	large.Event = ScaleJoin
	large.Bytes = 9000 + 2*1000*128
	if missed := missedScale([]ScaleFigure{large}); missed != nil {
		t.Errorf("missed %q for a join", missed)
	}
	large.Bytes++
	if missed := missedScale([]ScaleFigure{large}); len(missed) != 1 || !strings.Contains(missed[0], "bytes written") {
		t.Errorf("missed %q for a join that writes too much", missed)
	}
}

func TestParseScaleSizes(t *testing.T) {
	got, err := ParseScaleSizes([]string{"10000x64", "1000000x1000"})
	if want := []ScaleSize{{10_000, 64}, {1_000_000, 1000}}; err != nil || !slices.Equal(got, want) {
		t.Errorf("%v, %v", got, err)
	}
}

func TestScaleIDsAreOfOneSize(t *testing.T) {
	for _, i := range []int{0, 9_999_999} {
		if id := scalePartition(i).ID(); len(id) != scaleIDBytes {
			t.Errorf("%q has %d bytes, not %d", id, len(id), scaleIDBytes)
		}
	}
}
