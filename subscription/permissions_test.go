package subscription

import (
	"context"
	"errors"
	"os"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/arloliu/parti"
	partitest "github.com/arloliu/parti/testing"
)

// documentedRights are those that the operator's manual gives to a helper.
func documentedRights(t *testing.T) []string {
	t.Helper()
	text, err := os.ReadFile("../docs/OPERATIONS.md")
	ok(t, err)
	_, table, found := strings.Cut(string(text), "<!-- durable permissions -->\n")
	if !found {
		t.Fatal("docs/OPERATIONS.md has no permissions of the durable helper")
	}
	table, _, _ = strings.Cut(table, "\n\n")
	var rights []string
	for _, m := range regexp.MustCompile("(?m)^\\| `([^`]+)`").FindAllStringSubmatch(table, -1) {
		rights = append(rights, m[1])
	}
	return rights
}

// denied collects what the connections of a user were told.
type denied struct {
	mu   sync.Mutex
	told []string
}

func (d *denied) connect(t *testing.T, from interface {
	Connect(t testing.TB, opts ...nats.Option) *nats.Conn
},
) *nats.Conn {
	t.Helper()
	return from.Connect(t, nats.UserInfo("poor", "pw"), nats.CustomInboxPrefix("_INBOX_worker"), nats.NoReconnect(),
		nats.ErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) {
			if errors.Is(err, nats.ErrPermissionViolation) {
				d.mu.Lock()
				defer d.mu.Unlock()
				d.told = append(d.told, err.Error())
			}
		}))
}

// TestPermissions has helpers with the rights that are documented do everything that
// they do. Without one of them, errors name it.
func TestPermissions(t *testing.T) {
	rights := documentedRights(t)
	if len(rights) < 8 {
		t.Fatalf("found %v", rights)
	}
	for _, without := range append([]string{""}, rights...) {
		t.Run("without "+without, func(t *testing.T) {
			allow := append([]string{"dead"}, slices.DeleteFunc(slices.Clone(rights), func(r string) bool { return r == without })...)
			partitest.Bubble(t, func(t *testing.T, srv *partitest.Server) {
				withRights(t, newWorld(t, srv, jetstream.StreamConfig{}), without)
			}, partitest.WithServerOptions(func(o *server.Options) {
				o.NoAuthUser = "free"
				o.Users = []*server.User{
					{Username: "free", Password: "pw"},
					{Username: "poor", Password: "pw", Permissions: &server.Permissions{
						Publish:   &server.SubjectPermission{Allow: allow},
						Subscribe: &server.SubjectPermission{Allow: []string{"_INBOX_worker.>"}},
					}},
				}
			}))
		})
	}
}

func withRights(t *testing.T, w *world, without string) {
	t.Helper()
	_, err := w.js.CreateStream(t.Context(), jetstream.StreamConfig{Name: "DEAD", Subjects: []string{"dead"}})
	ok(t, err)
	d := &denied{}
	cfg := w.config()
	cfg.DeadLetterSubject, cfg.MaxDeliver, cfg.RetireAfter, cfg.HandoffTimeout = "dead", 2, time.Minute, 20*time.Second
	p, q := part("p"), part("q")
	handle := func(_ context.Context, msg jetstream.Msg) error {
		time.Sleep(10 * time.Millisecond)
		if _, n := number(msg); n == 7 {
			return errors.New("bad")
		}
		w.note(msg)
		return nil
	}
	var errs []error
	update := func(h *DurableHelper, ps ...parti.Partition) {
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		if err := h.UpdateWorkerConsumer(ctx, w.worker(h), ps); err != nil {
			errs = append(errs, err)
		}
		time.Sleep(time.Second)
	}
	link := w.srv.NewLink(t)
	helper := func(nc *nats.Conn, cfg DurableConfig, handle MessageHandlerFunc) *DurableHelper {
		h, err := NewDurableHelper(nc, cfg, handle)
		ok(t, err)
		t.Cleanup(func() {
			ctx, cancel := context.WithTimeout(context.Background(), time.Second)
			defer cancel()
			_ = h.Close(ctx) // it may not succeed without its right
		})
		return h
	}
	a, b := helper(d.connect(t, w.srv), cfg, handle), helper(d.connect(t, w.srv), cfg, handle)
	gone := make(chan struct{})
	hangs := cfg
	hangs.OnError = nil
	dies := helper(d.connect(t, link), hangs, func(context.Context, jetstream.Msg) error {
		<-gone
		return errors.New("gone")
	})
	defer close(gone)
	follows := w.lead(a, p, q)
	time.Sleep(10 * time.Second)
	w.publish(200, p)
	update(a, p)
	update(a) // with some handed back
	update(dies, p)
	update(b, p, q) // taken over from who is there still
	link.Cut()
	time.Sleep(2 * time.Minute)
	follows.lists <- nil
	update(b)
	stream, err := w.js.Stream(t.Context(), "WORK")
	ok(t, err)
	ok(t, stream.Purge(t.Context()))
	time.Sleep(10 * time.Minute)
	follows.end()

	d.mu.Lock()
	defer d.mu.Unlock()
	problems := append(errs, w.problems()...)
	if without == "" {
		_, done := w.total()
		if len(d.told) > 0 || len(errs) > 0 || done != 199 || w.count(ErrPoison) != 1 || len(w.durables()) > 0 {
			t.Errorf("denied %v; %d done, durables %v left; reported %v", d.told, done, w.durables(), problems)
		}
		return
	}
	subject := strings.TrimRight(without, ">")
	names := func(text string) bool { return strings.Contains(text, subject) }
	if !slices.ContainsFunc(d.told, names) {
		t.Errorf("the right is not needed; denied %v", d.told)
	}
	if !slices.ContainsFunc(problems, func(err error) bool { return names(err.Error()) }) {
		t.Errorf("no error names it: %v", problems)
	}
}
