package natskv_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"

	"github.com/arloliu/parti/internal/kvtest"
	"github.com/arloliu/parti/internal/natskv"
)

// A probe is answered while somebody answers it, and finds nobody at once when
// nobody does.
func TestProbe(t *testing.T) {
	d := startServer(t, nil)
	a, b := open(t, d.connect(t), config()), open(t, d.connect(t), config())
	ctx := within(t)
	if err := a.Probe(ctx, "parti.g.probe.x"); !errors.Is(err, natskv.ErrNobody) {
		t.Errorf("probe of nobody: %v", err)
	}
	asked := make(chan struct{}, 9)
	stop, err := b.Answer(ctx, "parti.g.probe.x", func() { asked <- struct{}{} })
	if err != nil {
		t.Fatal(err)
	}
	if err := a.Probe(ctx, "parti.g.probe.x"); err != nil {
		t.Errorf("probe that is answered: %v", err)
	}
	<-asked
	stop()
	if err := b.Probe(ctx, "parti.g.probe.x"); !errors.Is(err, natskv.ErrNobody) {
		t.Errorf("probe after the end: %v", err)
	}
}

// Who listens and does not answer is not absent.
func TestProbeOfTheSilent(t *testing.T) {
	d := startServer(t, nil)
	js := d.connect(t)
	s := open(t, js, config())
	sub, err := js.Conn().SubscribeSync("parti.g.probe.x")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = sub.Unsubscribe() }()
	ctx, cancel := context.WithTimeout(within(t), 20*time.Millisecond)
	defer cancel()
	if err := s.Probe(ctx, "parti.g.probe.x"); !errors.Is(err, natskv.ErrAmbiguous) || errors.Is(err, natskv.ErrNobody) {
		t.Errorf("probe of one that hangs: %v", err)
	}
}

// Nothing that somebody else wrote makes a probe, or a notice, of many.
func TestProbeSubjectsAreChecked(t *testing.T) {
	d := startServer(t, nil)
	s := open(t, d.connect(t), config())
	ctx := within(t)
	for _, bad := range []string{"", "a..b", "a.>", "a.*.b", "a b", "a.b\r\nPUB x 0"} {
		if err := s.Probe(ctx, bad); !errors.Is(err, natskv.ErrRefused) {
			t.Errorf("probe of %q: %v", bad, err)
		}
		if _, err := s.Notices(ctx, 3, "x."+bad+".y", func(string) {}); !errors.Is(err, natskv.ErrRefused) {
			t.Errorf("notices of %q: %v", bad, err)
		}
	}
}

// The server tells soon that the watch of a connection that has gone is deleted,
// to those who listen to all and to that one, and not to those of another.
func TestNotices(t *testing.T) {
	d := startServer(t, nil)
	s := open(t, d.connect(t), config())
	ctx := within(t)
	heard := make(chan string, 9)
	for _, name := range []string{natskv.AllConsumers, "g_head_x_1", "g_head_x_2"} {
		stop, err := s.Notices(ctx, 3, name, func(c string) { heard <- name + " hears " + c })
		if err != nil {
			t.Fatal(err)
		}
		defer stop()
	}
	js := d.connect(t)
	r := kvtest.NewRecorder()
	if _, err := open(t, js, config()).Watch(ctx, 3, "k", "g_head_x_1", r.Take); err != nil {
		t.Fatal(err)
	}
	r.Synced(t)
	began := time.Now()
	js.Conn().Close()
	got := map[string]bool{<-heard: true, <-heard: true}
	t.Logf("told after %v", time.Since(began))
	if !got["* hears g_head_x_1"] || !got["g_head_x_1 hears g_head_x_1"] || len(heard) > 0 {
		t.Errorf("heard %v and %d more", got, len(heard))
	}
}

// Who may not listen is told so, and nothing else fails.
func TestProbesWithoutPermission(t *testing.T) {
	d := startServer(t, func(o *server.Options) {
		o.Users = []*server.User{{Username: "u", Password: "p", Permissions: &server.Permissions{
			Publish:   &server.SubjectPermission{Deny: []string{"parti.>"}},
			Subscribe: &server.SubjectPermission{Deny: []string{"parti.>", "$JS.EVENT.>"}},
		}}}
	})
	s := open(t, d.connect(t, nats.UserInfo("u", "p")), config())
	ctx := within(t)
	if _, err := s.Answer(ctx, "parti.g.probe.x", func() {}); !errors.Is(err, natskv.ErrPermission) {
		t.Errorf("answer: %v", err)
	}
	for _, name := range []string{natskv.AllConsumers, "x"} {
		if _, err := s.Notices(ctx, 3, name, func(string) {}); !errors.Is(err, natskv.ErrPermission) {
			t.Errorf("notices of %s: %v", name, err)
		}
	}
	short, cancel := context.WithTimeout(ctx, 20*time.Millisecond)
	defer cancel()
	if err := s.Probe(short, "parti.g.probe.x"); err == nil || errors.Is(err, natskv.ErrNobody) {
		t.Errorf("probe: %v", err)
	}
	if _, err := s.Create(ctx, 0, "k", nil); err != nil {
		t.Error(err)
	}
}
