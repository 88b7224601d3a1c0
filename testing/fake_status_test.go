package testing_test

import (
	"errors"
	"testing"

	"github.com/arloliu/parti"
	partitest "github.com/arloliu/parti/testing"
)

func TestFakeStatus(t *testing.T) {
	f := partitest.NewFake(partitest.FakeOptions{})
	want := func(when string, ready, live bool, partitions int, weight int64) {
		t.Helper()
		s := f.Status()
		if s.Ready != ready || s.Live != live || s.Partitions != partitions || s.Weight != weight || s.State != f.State() || s.Worker != f.WorkerID() {
			t.Errorf("%s: %+v", when, s)
		}
	}
	want("new", false, true, 0, 0)
	if err := f.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := f.Grant(parti.Partition{Keys: []string{"a"}}, parti.Partition{Keys: []string{"b"}, Weight: 7}); err != nil {
		t.Fatal(err)
	}
	want("running", true, true, 2, 107)
	f.Degrade("Info", 0)
	want("degraded", true, true, 2, 107)
	f.Fail(errors.New("foreign app"))
	<-f.Done()
	want("failed", false, false, 0, 0)
	if err := f.Stop(t.Context()); err != nil {
		t.Log(err) // nothing is left to stop
	}
}
