package core

import (
	"testing"
	"time"
)

func TestAllowanceOnAnotherServer(t *testing.T) {
	c := New(testConfig())
	c.Step(0, Connected{Server: "n1"})
	for _, tc := range []struct {
		server string
		said   time.Duration
		want   time.Duration
	}{
		{"n1", 300 * time.Millisecond, 300 * time.Millisecond},
		{"n2", 300 * time.Millisecond, time.Second},
		{"n2", 3 * time.Second, 3 * time.Second},
	} {
		if got := c.allowance(toMillis(tc.said), tc.server); got != tc.want {
			t.Errorf("allowance of %v on %s is %v, want %v", tc.said, tc.server, got, tc.want)
		}
	}
}
