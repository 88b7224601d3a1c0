package main

import (
	"errors"
	"testing"

	"golang.org/x/sys/unix"
)

// Nobody is there to end the workers when the parent is killed.
func TestWorkersDieWithTheirParent(t *testing.T) {
	if testing.Short() {
		t.Skip("runs processes for about 4 s")
	}
	t.Parallel()
	r := startDemo(t, "--input", smallTree(t))
	r.until("publishing begins")
	var polls []unix.PollFd
	for _, pid := range r.processes() {
		fd, err := unix.PidfdOpen(pid, 0)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = unix.Close(fd) }()
		polls = append(polls, unix.PollFd{Fd: int32(fd), Events: unix.POLLIN})
	}
	if err := r.cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = r.cmd.Wait() // killed
	for i := range polls {
		for {
			n, err := unix.Poll(polls[i:i+1], 5000)
			if errors.Is(err, unix.EINTR) {
				continue
			}
			if err != nil || n != 1 {
				t.Errorf("worker %d of %d is alive (%v)", i+1, len(polls), err)
			}
			break
		}
	}
}
