package fleet

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// sentBy returns the reports that act causes, once time has passed.
func sentBy(t *testing.T, act func(m *Meter)) string {
	t.Helper()
	var out bytes.Buffer
	synctest.Test(t, func(t *testing.T) {
		m := &Meter{Reports: NewReporter(&out)}
		act(m)
		time.Sleep(time.Second)
	})
	var lines []string
	dec := json.NewDecoder(&out)
	for dec.More() {
		var r Report
		if err := dec.Decode(&r); err != nil {
			t.Fatal(err)
		}
		r.At = 0
		b, err := json.Marshal(r)
		if err != nil {
			t.Fatal(err)
		}
		lines = append(lines, string(b))
	}
	return strings.Join(lines, " ")
}

func TestMeterReportsAPlanOnce(t *testing.T) {
	tests := []struct {
		name string
		act  func(m *Meter)
		want string
	}{
		{"moves first", func(m *Meter) { m.AddMoves("scale", 3); m.IncrementRebalance("scale") }, `{"kind":"rebalance","reason":"scale","moves":3}`},
		{"commit first", func(m *Meter) { m.IncrementRebalance("scale"); m.AddMoves("scale", 3) }, `{"kind":"rebalance","reason":"scale","moves":3}`},
		{"without moves", func(m *Meter) { m.IncrementRebalance("cold_start") }, `{"kind":"rebalance","reason":"cold_start"}`},
		{
			"two plans", func(m *Meter) {
				m.IncrementRebalance("scale")
				time.Sleep(time.Second)
				m.IncrementRebalance("scale")
				m.AddMoves("scale", 1)
			},
			`{"kind":"rebalance","reason":"scale"} {"kind":"rebalance","reason":"scale","moves":1}`,
		},
		{"leader", func(m *Meter) { m.SetLeader(true); m.SetLeader(false) }, `{"kind":"leader","leader":true} {"kind":"leader"}`},
		{"forced", func(m *Meter) { m.IncrementForcedHandoff() }, `{"kind":"forced"}`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := sentBy(t, tt.act); got != tt.want {
				t.Errorf("reports %s, want %s", got, tt.want)
			}
		})
	}
}

func TestEachLineLeavesOutTheHalfLine(t *testing.T) {
	var got []string
	eachLine(strings.NewReader("one\r\n\ntwo\nthr"), func(b []byte) { got = append(got, string(b)) })
	if strings.Join(got, "|") != "one||two" {
		t.Errorf("lines %q", got)
	}
}
