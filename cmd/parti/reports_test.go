package main

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// sentBy returns the reports that act causes, once time has passed.
func sentBy(t *testing.T, act func(m *meter)) string {
	t.Helper()
	var out bytes.Buffer
	synctest.Test(t, func(t *testing.T) {
		m := &meter{reports: newReporter(&out)}
		act(m)
		time.Sleep(time.Second)
	})
	var lines []string
	dec := json.NewDecoder(&out)
	for dec.More() {
		var r report
		if err := dec.Decode(&r); err != nil {
			t.Fatal(err)
		}
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
		act  func(m *meter)
		want string
	}{
		{"moves first", func(m *meter) { m.AddMoves("scale", 3); m.IncrementRebalance("scale") }, `{"kind":"rebalance","reason":"scale","moves":3}`},
		{"commit first", func(m *meter) { m.IncrementRebalance("scale"); m.AddMoves("scale", 3) }, `{"kind":"rebalance","reason":"scale","moves":3}`},
		{"without moves", func(m *meter) { m.IncrementRebalance("cold_start") }, `{"kind":"rebalance","reason":"cold_start"}`},
		{
			"two plans", func(m *meter) {
				m.IncrementRebalance("scale")
				time.Sleep(time.Second)
				m.IncrementRebalance("scale")
				m.AddMoves("scale", 1)
			},
			`{"kind":"rebalance","reason":"scale"} {"kind":"rebalance","reason":"scale","moves":1}`,
		},
		{"leader", func(m *meter) { m.SetLeader(true); m.SetLeader(false) }, `{"kind":"leader","leader":true} {"kind":"leader"}`},
		{"forced", func(m *meter) { m.IncrementForcedHandoff() }, `{"kind":"forced"}`},
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
