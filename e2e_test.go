package parti_test

import (
	"fmt"
	"log/slog"
	"os"
	"testing"
	"testing/synctest"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/arloliu/parti"
	"github.com/arloliu/parti/source"
	"github.com/arloliu/parti/strategy"
	partitest "github.com/arloliu/parti/testing"
)

func TestFirst(t *testing.T) {
	partitest.Bubble(t, func(t *testing.T, srv *partitest.Server) {
		var parts []parti.Partition
		for i := range 40 {
			parts = append(parts, parti.Partition{Keys: []string{"p", fmt.Sprint(i)}, Weight: 100})
		}
		src := source.NewStatic(parts)
		lg := slog.New(slog.NewTextHandler(os.Stdout, &slog.HandlerOptions{Level: slog.LevelDebug}))
		var ms []*parti.Manager
		start := time.Now()
		for i := range 3 {
			nc := srv.Connect(t)
			js, _ := jetstream.New(nc)
			m, err := parti.NewManager(&parti.Config{}, js, src, strategy.NewConsistentHash(), parti.WithLogger(lg.With("m", i)))
			if err != nil {
				t.Fatal(err)
			}
			ms = append(ms, m)
		}
		errs := make(chan error)
		for _, m := range ms {
			go func() { errs <- m.Start(t.Context()) }()
		}
		for range ms {
			if err := <-errs; err != nil {
				t.Error(err)
			}
		}
		fmt.Println("STARTED", time.Since(start))
		for _, m := range ms {
			fmt.Println(m.WorkerID(), m.IsLeader(), m.State(), len(m.CurrentAssignment().Partitions))
		}
		time.Sleep(20 * time.Second)
		synctest.Wait()
		for _, m := range ms {
			fmt.Println("STOP", m.Stop(t.Context()))
			time.Sleep(20 * time.Second)
		}
	})
}
