package strategy

import (
	"runtime"
	"sync"
)

// grain is the least work worth a goroutine, in partitions.
const grain = 1 << 15

// inParallel calls do for stretches that cover 0 to n-1, for a large n on all
// processors at the same time, and returns when all are done. Do must not care
// how the whole is cut.
func inParallel(n int, do func(from, to int)) {
	stretches := min(runtime.GOMAXPROCS(0), n/grain)
	if stretches <= 1 {
		do(0, n)
		return
	}
	var wg sync.WaitGroup
	for s := 1; s < stretches; s++ {
		wg.Go(func() { do(n*s/stretches, n*(s+1)/stretches) })
	}
	do(0, n/stretches)
	wg.Wait()
}
