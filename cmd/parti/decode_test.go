package main

import (
	"bytes"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/arloliu/parti"
	"github.com/arloliu/parti/source"
	"github.com/arloliu/parti/strategy"
	partitest "github.com/arloliu/parti/testing"
)

func TestDecode(t *testing.T) {
	srv := partitest.StartServer(t)
	js, err := jetstream.New(srv.Connect(t))
	if err != nil {
		t.Fatal(err)
	}
	src := source.NewStatic([]parti.Partition{{Keys: []string{"orders", "7"}}})
	cfg := &parti.Config{ColdStartSettle: 10 * time.Millisecond}
	mgr, err := parti.NewManager(cfg, js, src, strategy.NewConsistentHash())
	if err != nil {
		t.Fatal(err)
	}
	if err := mgr.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = mgr.Stop(t.Context()) }()

	var out, errs bytes.Buffer
	if status := run([]string{"parti", "decode", "--nats", srv.URL()}, &out, &errs); status != 0 {
		t.Fatalf("status %d: %s", status, &errs)
	}
	for _, want := range []string{
		`(?m)^worker\.head \d+ {.*"w":\[{"w":"worker-0",`,
		`(?m)^worker\.part\.worker-0\.\d+\.1 \d+ {.*"orders\.7"`,
	} {
		if !regexp.MustCompile(want).MatchString(out.String()) {
			t.Errorf("no %s in\n%s", want, &out)
		}
	}
	if status := run([]string{"parti", "decode", "--nats", srv.URL(), "worker.nothing"}, &out, &errs); status != exitFailure ||
		!strings.Contains(errs.String(), "key worker.nothing: ") {
		t.Errorf("a key that is absent: status %d, %s", status, &errs)
	}
	if err := decodeValue(&out, strings.NewReader("ph...")); err == nil || !strings.Contains(err.Error(), "another format") {
		t.Errorf("a damaged value: %v", err)
	}
}
