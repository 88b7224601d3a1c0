package natskv_test

import (
	"errors"
	"fmt"
	"testing"

	"github.com/arloliu/parti/internal/kvtest"
	"github.com/arloliu/parti/internal/natskv"
)

// TestCost counts the messages that each operation sends.
func TestCost(t *testing.T) {
	d := startServer(t, nil)
	js := d.connect(t)
	ctx := within(t)
	var sent uint64
	cost := func(what string, want uint64) {
		t.Helper()
		now := js.Conn().Stats().OutMsgs
		if got := now - sent; got != want {
			t.Errorf("%s sent %d messages, want %d", what, got, want)
		}
		sent = now
	}
	fatal := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}

	open(t, js, config()).Close()
	cost("open of absent buckets", 8)
	s := open(t, js, config())
	cost("open of present buckets", 4)

	rev, err := s.Create(ctx, 0, "k", nil)
	fatal(err)
	cost("create", 1)
	_, _ = s.Create(ctx, 0, "k", nil)
	cost("create with conflict", 2)
	_, err = s.Get(ctx, 0, "k")
	fatal(err)
	cost("get", 1)
	_, _ = s.Get(ctx, 0, "absent")
	cost("get of an absent key", 1)
	rev, err = s.Update(ctx, 0, "k", nil, rev)
	fatal(err)
	cost("update", 1)
	_, _ = s.Update(ctx, 0, "k", nil, rev-1)
	cost("update with conflict", 1)
	fatal(s.Delete(ctx, 0, "k", rev))
	cost("delete", 1)
	if _, err := s.CreateFresh(ctx, 0, "k", nil); !errors.Is(err, natskv.ErrConflict) {
		t.Errorf("a marker was taken for nothing: %v", err)
	}
	cost("create of a key believed fresh", 1)
	_, err = s.Create(ctx, 0, "k", nil)
	fatal(err)
	cost("create over a marker", 3)

	for i, c := range []struct {
		filter string
		want   uint64
	}{{"k", 1}, {"absent", 2}, {">", 2}, {"absent.>", 2}} {
		r := kvtest.NewRecorder()
		w, err := s.Watch(ctx, 0, c.filter, fmt.Sprintf("w%d", i), r.Take)
		fatal(err)
		r.Synced(t)
		cost("watch of "+c.filter, c.want)
		w.Stop()
		cost("stop", 0)
	}
}
