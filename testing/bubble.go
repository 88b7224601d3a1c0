package testing

import (
	"runtime"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/nats-io/nats-server/v2/server/ats"

	"github.com/arloliu/parti/internal/onecpu"
)

// oneBubble lets one bubble run at a time: nats.go pools timers for the whole
// process, and a timer of one bubble is poison in another.
var oneBubble sync.Mutex

// Bubble runs f in a testing/synctest bubble with a real NATS server inside, so
// that time is virtual: time.Sleep(30*time.Minute) with everything that happens
// meanwhile takes milliseconds. The server has JetStream, no socket, its data in
// a temporary directory, and may be shut down and restarted by f; it is stopped
// at the end, inside the bubble. Connect with srv.Connect or a [Link].
//
// The package documentation says what does not work in a bubble. The t given to
// f allows no Run, Parallel or Deadline.
func Bubble(t *testing.T, f func(t *testing.T, srv *Server), opts ...Option) {
	t.Helper()
	oneBubble.Lock()
	defer oneBubble.Unlock()

	// The server keeps a coarse clock with one goroutine for the whole process,
	// started by the first store and stopped by the last. Started in a bubble it
	// would wait on a channel from outside of it, which never counts as waiting,
	// and virtual time would stand still.
	ats.Register()
	defer ats.Unregister()

	emptyPools()
	defer emptyPools()
	defer onecpu.InRace()()

	synctest.Test(t, func(t *testing.T) {
		all := append([]Option{WithoutListener()}, opts...)
		f(t, StartServer(t, all...))
	})
}

// emptyPools empties every sync.Pool, among them the pool of timers of nats.go:
// the first collection retires what is in the pools, the second drops it.
func emptyPools() {
	runtime.GC()
	runtime.GC()
}
