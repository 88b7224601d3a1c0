//go:build unix

package main

import (
	"strings"
	"testing"
	"time"

	partitest "github.com/arloliu/parti/testing"
)

// TestDemoBearsAnOutage: NATS is away for 20 s in the middle of the work. The workers
// go on, and nothing is lost.
func TestDemoBearsAnOutage(t *testing.T) {
	if testing.Short() {
		t.Skip("runs processes for about 50 s")
	}
	t.Parallel()
	srv := partitest.StartServer(t)
	r := startDemo(t, "--input", smallTree(t), "--pace", "16s", "--workers", "3", "--calm", "--nats", srv.URL())
	r.until("publishing begins")
	<-time.After(4 * time.Second)
	srv.Shutdown()
	<-time.After(20 * time.Second)
	srv.Restart()
	if status := r.end(); status != 0 {
		t.Fatalf("exit status %d\n%s", status, r.output())
	}
	for name, want := range map[string]string{
		"all words": "230,000 230,000", "messages published": "402", "messages counted": "402", "lost": "0", "out of order": "0",
	} {
		if got := r.row(name); got != want {
			t.Errorf("%s: %s, want %s", name, got, want)
		}
	}
	if !strings.Contains(r.output(), "NATS connection lost") {
		t.Error("nobody lost NATS")
	}
	if strings.Contains(r.output(), "emergency") {
		t.Error("partitions moved")
	}
	if t.Failed() {
		t.Log(r.output())
	}
}
