package bench

import (
	"errors"
	"os"
	"strings"
	"testing"
	"time"
)

func TestRow(t *testing.T) {
	tests := []struct {
		name          string
		row           Row
		median, worst float64
		verdict       string
	}{
		{"no goal", newRow(4, "x", "s", nil, []float64{3, 1, 2}), 2, 3, ""},
		{"even", newRow(4, "x", "s", new(4.0), []float64{4, 1, 2, 3}), 2.5, 4, "ok"},
		{"the worst counts", newRow(4, "x", "s", new(3.0), []float64{1, 1, 3.1}), 1, 3.1, "MISSED"},
		{"zero is a goal", newRow(4, "x", "", new(0.0), []float64{1}), 1, 1, "MISSED"},
		{"nothing measured", newRow(4, "x", "", nil, nil), 0, 0, "MISSED"},
		{"moves that had to be", newRow(4, "x", "s", nil, []float64{1}).withMoves(Moves{Moved: 5, Least: 5}), 1, 1, "ok"},
		{"moves of others", newRow(4, "x", "s", new(2.0), []float64{1}).withMoves(Moves{Moved: 6, Least: 5, Others: 1}), 1, 1, "MISSED"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if tt.row.Median != tt.median || tt.row.Worst != tt.worst || tt.row.verdict() != tt.verdict {
				t.Errorf("median %v, worst %v, %q; want %v, %v, %q",
					tt.row.Median, tt.row.Worst, tt.row.verdict(), tt.median, tt.worst, tt.verdict)
			}
		})
	}
}

func TestMissedGoalsAreAnError(t *testing.T) {
	good := newRow(4, "x", "s", new(1.0), []float64{1})
	bad := newRow(4, "x", "s", new(1.0), []float64{2})
	if err := judge([]Row{good, good}, false); err != nil {
		t.Error(err)
	}
	if err := judge([]Row{good, bad}, false); !errors.Is(err, ErrMissed) {
		t.Errorf("error %v, want ErrMissed", err)
	}
	if err := judge([]Row{bad}, true); err != nil {
		t.Errorf("error %v with report-only", err)
	}
}

// TestWhatTheShortFormBears: what the machine explains, and nothing else.
func TestWhatTheShortFormBears(t *testing.T) {
	others := Moves{Moved: 6, Least: 5, Others: 1}
	tests := []struct {
		name    string
		row     Row
		stall   time.Duration
		verdict string
	}{
		{"good", newRow(4, "x", "s", new(2.0), []float64{2}), time.Second, "ok"},
		{"slow", newRow(4, "x", "s", new(2.0), []float64{5}), 0, "slow, within the margin"},
		{"too slow", newRow(4, "x", "s", new(2.0), []float64{5.1}), 0, "MISSED"},
		{"a count", newRow(4, "x", "", new(0.0), []float64{1}), 0, "MISSED"},
		{"messages", newRow(4, "x", "/worker/s", new(1.0), []float64{1.1}), 0, "MISSED"},
		{"moves of others", newRow(4, "x", "s", new(2.0), []float64{1}).withMoves(others), 0, "MISSED"},
		{"nothing measured", newRow(4, "x", "s", new(2.0), nil), 0, "MISSED"},
		{
			"moves after a stall", newRow(4, "x", "s", new(2.0), []float64{1}).withMoves(others), longStall,
			"not judged: the machine stood still for 200ms",
		},
		{"moves after a short one", newRow(4, "x", "s", nil, []float64{1}).withMoves(others), longStall - 1, "MISSED"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r := tt.row.bear(tt.stall)
			if r.verdict() != tt.verdict {
				t.Errorf("%q, want %q", r.verdict(), tt.verdict)
			}
			if err := judge([]Row{r}, false); (err == nil) != (tt.verdict != "MISSED") {
				t.Errorf("judged %v", err)
			}
		})
	}
}

func TestStalls(t *testing.T) {
	s := watchStalls()
	s.note(time.Hour)
	if d := s.take(); d != time.Hour {
		t.Errorf("%v", d)
	}
	if d := s.take(); d >= time.Hour {
		t.Errorf("%v, though it was taken before", d)
	}
	s.close()
}

func TestTable(t *testing.T) {
	var out strings.Builder
	err := writeTable(&out, []Row{
		newRow(16, "cold start", "s", new(3.2), []float64{2.125}),
		newRow(4, "SIGKILL", "s", new(2.8), []float64{2, 3.25}).withMoves(Moves{Moved: 7, Least: 6, Others: 1}),
	})
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(out.String(), "\n")
	for i, want := range []string{
		"workers what runs median worst goal moved least of others",
		"4 SIGKILL 2 2.62 3.25 ≤ 2.80 s 7 6 1 MISSED",
		"16 cold start 1 2.12 2.12 ≤ 3.20 s ok",
	} {
		if got := strings.Join(strings.Fields(lines[i]), " "); got != want {
			t.Errorf("line %d is %q, want %q", i, got, want)
		}
	}
}

func TestFastProfileIsTheGuides(t *testing.T) {
	cfg := fastProfile.settings()
	if err := cfg.Validate(); err != nil {
		t.Error(err)
	}
	guide, err := os.ReadFile("../../../../docs/USER_GUIDE.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, line := range []string{
		"nats.ReconnectWait(100*time.Millisecond), nats.ReconnectJitter(0, 0)",
		"HeartbeatInterval:    250 * time.Millisecond",
		"HeartbeatTTL:         750 * time.Millisecond",
		"EmergencyGracePeriod: 100 * time.Millisecond",
	} {
		if !strings.Contains(string(guide), line) {
			t.Errorf("the guide has no %q", line)
		}
	}
	if cfg.HeartbeatInterval != 250*time.Millisecond || cfg.HeartbeatTTL != 750*time.Millisecond ||
		cfg.EmergencyGracePeriod != 100*time.Millisecond || fastProfile.connect.Wait != 100*time.Millisecond {
		t.Errorf("the profile is not that of the guide: %+v", fastProfile)
	}
}
