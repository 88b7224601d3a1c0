package wall

import (
	"os"
	"runtime"
	"runtime/pprof"
	"sync"
	"testing"
	"time"

	"github.com/arloliu/parti"
	"github.com/arloliu/parti/internal/fleettest"
	"github.com/arloliu/parti/source"
	partitest "github.com/arloliu/parti/testing"
)

func init() { runtime.MemProfileRate = 1 }

func TestMemTmp(t *testing.T) {
	srv := partitest.StartServer(t)
	src := source.NewStatic(fleettest.Numbered(1000))
	ms := make([]*parti.Manager, 10)
	for i := range ms {
		ms[i] = fleettest.NewManager(t, srv.Connect(t), parti.Config{}, src)
	}
	dump := func(name string) {
		runtime.GC()
		runtime.GC()
		f, _ := os.Create(name)
		_ = pprof.Lookup("heap").WriteTo(f, 0)
		f.Close()
		f, _ = os.Create(name + ".g")
		_ = pprof.Lookup("goroutine").WriteTo(f, 1)
		f.Close()
	}
	dump("/tmp/heap0")
	var wg sync.WaitGroup
	for _, m := range ms {
		wg.Go(func() { _ = m.Start(t.Context()) })
	}
	wg.Wait()
	time.Sleep(4 * time.Second)
	dump("/tmp/heap1")
}
