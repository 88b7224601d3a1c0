package parti_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"

	"github.com/arloliu/parti"
	"github.com/arloliu/parti/health"
	"github.com/arloliu/parti/internal/fleettest"
	"github.com/arloliu/parti/source"
	partitest "github.com/arloliu/parti/testing"
)

// The key pair of the documentation of NATS.
const (
	demoUser = "UDXU4RCSJNZOIQHZNWXHXORDPRTGNJAHAHFRGZNEEJCPQTT2M7NLCNF4"
	demoSeed = "SUACSSL3UAHUDXKFSNVUZRF5UHPMWZ6BFDTJ7M6USDXIEDNPPQYYYCU3VY"
)

// spoken is what a worker says in any way.
type spoken struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (s *spoken) Write(b []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.text.Write(b)
}

// say notes what an application can read of a worker.
func (s *spoken) say(t *testing.T, m *parti.Manager) {
	t.Helper()
	h := health.Handler(m)
	for _, path := range []string{"/livez", "/readyz", "/status"} {
		rec := httptest.NewRecorder()
		h.ServeHTTP(rec, httptest.NewRequestWithContext(t.Context(), "GET", path, nil))
		fmt.Fprintln(s, path, rec.Body)
	}
	fmt.Fprintf(s, "%+v %v\n", m.Status(), m.Err())
}

// TestSecretsAreNotTold: no line of the log, at any level, no error, no answer of a
// probe has credentials, neither those of the connection nor those that a source
// quotes.
func TestSecretsAreNotTold(t *testing.T) {
	const password, token, database = "pa55word-of-the-fleet", "t0ken-of-the-fleet", "s3cret-of-the-db"
	seed := filepath.Join(t.TempDir(), "seed")
	if err := os.WriteFile(seed, []byte(demoSeed), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		server func(*server.Options)
		user   string // in the URL
		conn   []nats.Option
	}{
		"password": {server: func(o *server.Options) { o.Users = []*server.User{{Username: "fleet", Password: password}} }, user: "fleet:" + password + "@"},
		"token":    {server: func(o *server.Options) { o.Authorization = token }, user: token + "@"},
		"nkey": {server: func(o *server.Options) { o.Nkeys = []*server.NkeyUser{{Nkey: demoUser}} }, conn: func() []nats.Option {
			opt, err := nats.NkeyOptionFromSeed(seed)
			if err != nil {
				t.Fatal(err)
			}
			return []nats.Option{opt}
		}()},
	} {
		t.Run(name, func(t *testing.T) {
			partitest.Bubble(t, func(t *testing.T, srv *partitest.Server) {
				said := &spoken{}
				link := srv.NewLink(t)
				at := strings.Replace(srv.URL(), "://", "://"+c.user, 1)
				nc, err := nats.Connect(at, append(append(parti.NATSOptions(), c.conn...), link.Options()...)...)
				if err != nil {
					t.Fatal(err)
				}
				t.Cleanup(nc.Close)
				src := &failing{Static: source.NewStatic(fleettest.Numbered(10))}
				m := fleettest.NewManager(t, nc, parti.Config{}, src,
					parti.WithLogger(slog.New(slog.NewTextHandler(said, &slog.HandlerOptions{Level: slog.LevelDebug}))),
					parti.WithHooks(&parti.Hooks{OnError: func(_ context.Context, err error) error {
						if !errors.Is(err, parti.ErrSource) { // what the source said is not ours to change
							fmt.Fprintln(said, err)
						}
						return nil
					}}))
				said.say(t, m)
				fleettest.StartAll(t, m)
				time.Sleep(time.Minute)
				said.say(t, m)

				src.fail(errors.New(`parse "postgres://me:` + database + `@db/list": no such host`))
				_ = m.RefreshPartitions(t.Context())
				synctest.Wait()
				said.say(t, m)
				link.Cut() // known to be lost
				time.Sleep(2 * time.Minute)
				said.say(t, m)
				link.Heal()
				time.Sleep(20 * time.Second)
				link.Blackhole() // silence
				time.Sleep(2 * time.Minute)
				link.Heal()
				time.Sleep(20 * time.Second)
				nc.Close() // for good
				time.Sleep(time.Minute)
				synctest.Wait()
				said.say(t, m)
				if err := m.Stop(t.Context()); err != nil {
					t.Error(err)
				}
				said.say(t, m)

				said.mu.Lock()
				defer said.mu.Unlock()
				text := said.text.String()
				for _, secret := range []string{password, token, demoSeed, demoSeed[10:], database} {
					if i := strings.Index(text, secret); i >= 0 {
						t.Errorf("%q is told:\n%s", secret, text[max(0, i-200):i+50])
					}
				}
				for _, part := range []string{
					"parse \\\"postgres://xxxxx@db/list", "kind=connection", "kind=kv", "kind=source", "level=DEBUG", "closed for good", `"last_error"`,
				} {
					if !strings.Contains(text, part) {
						t.Errorf("nothing was told of %s", part)
					}
				}
			}, partitest.WithServerOptions(c.server))
		})
	}
}

// failing is a source that fails when told to.
type failing struct {
	*source.Static

	mu  sync.Mutex
	err error
}

func (f *failing) fail(err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.err = err
}

func (f *failing) ListPartitions(ctx context.Context) ([]parti.Partition, error) {
	f.mu.Lock()
	err := f.err
	f.mu.Unlock()
	if err != nil {
		return nil, err
	}
	return f.Static.ListPartitions(ctx)
}
