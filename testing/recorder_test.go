package testing_test

import (
	"fmt"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
)

// recorder is a testing.TB that keeps failures instead of failing.
type recorder struct {
	testing.TB

	mu   sync.Mutex
	errs []string
}

// run calls f so that FailNow ends f alone.
func (r *recorder) run(f func()) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		f()
	}()
	<-done
}

func (r *recorder) Errorf(format string, args ...any) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.errs = append(r.errs, fmt.Sprintf(format, args...))
}

func (r *recorder) Error(args ...any) { r.Errorf("%s", fmt.Sprintln(args...)) }

func (r *recorder) Fatalf(format string, args ...any) {
	r.Errorf(format, args...)
	runtime.Goexit()
}

func (r *recorder) Fatal(args ...any) {
	r.Error(args...)
	runtime.Goexit()
}

func (r *recorder) Failed() bool { return len(r.lines()) > 0 }

func (r *recorder) lines() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return append([]string{}, r.errs...)
}

// failed reports whether there was a failure that mentions text.
func (r *recorder) failed(text string) bool {
	for _, l := range r.lines() {
		if strings.Contains(l, text) {
			return true
		}
	}
	return false
}

// countingTB counts the lines logged.
type countingTB struct {
	testing.TB
	lines *atomic.Int64
}

func (c countingTB) Log(args ...any) {
	c.lines.Add(1)
	c.TB.Log(args...)
}

func sscanPort(url string, port *int) (int, error) {
	return fmt.Sscanf(url, "nats://127.0.0.1:%d", port)
}
