// Package nats_test runs fleets under the configuration in this folder.
package nats_test

import (
	"context"
	"errors"
	"regexp"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/nats-io/nkeys"

	"github.com/arloliu/parti"
	"github.com/arloliu/parti/internal/fleettest"
	"github.com/arloliu/parti/source"
	partitest "github.com/arloliu/parti/testing"
)

// roles are the users of accounts.conf, by the variable that names their key, and
// the prefixes of their inboxes.
var roles = map[string]string{
	"PARTI_ADMIN": "_INBOX_admin", "PARTI_WORKER": "_INBOX_worker", "PARTI_OBSERVER": "_INBOX_observer",
	"PARTI_WORKER_8": "_INBOX_worker-8", "PARTI_WORKER_9": "_INBOX_worker-9",
}

// keyring makes keys for all roles and puts the public ones where accounts.conf
// finds them.
type keyring map[string]nkeys.KeyPair

func newKeyring(t *testing.T) keyring {
	t.Helper()
	k := keyring{}
	for role := range roles {
		pair, err := nkeys.CreateUser()
		if err != nil {
			t.Fatal(err)
		}
		public, err := pair.PublicKey()
		if err != nil {
			t.Fatal(err)
		}
		t.Setenv(role, public)
		k[role] = pair
	}
	return k
}

// as are the options of a connection in a role.
func (k keyring) as(t *testing.T, role string) []nats.Option {
	t.Helper()
	public, err := k[role].PublicKey()
	if err != nil {
		t.Fatal(err)
	}
	return append(parti.NATSOptions(), nats.Nkey(public, k[role].Sign), nats.CustomInboxPrefix(roles[role]))
}

// fromFile gives a server in a bubble the accounts and users of a file.
func fromFile(t *testing.T, file string) partitest.Option {
	t.Helper()
	return partitest.WithServerOptions(func(o *server.Options) {
		f, err := server.ProcessConfigFile(file)
		if err != nil {
			t.Error(err)
			return
		}
		o.Accounts, o.Nkeys, o.Users = f.Accounts, f.Nkeys, f.Users
	})
}

// denials collects what the server refused to a connection.
type denials struct {
	mu   sync.Mutex
	errs []string
}

func (d *denials) option() nats.Option {
	return nats.ErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) {
		d.mu.Lock()
		defer d.mu.Unlock()
		d.errs = append(d.errs, err.Error())
	})
}

func (d *denials) all() []string {
	d.mu.Lock()
	defer d.mu.Unlock()
	return append([]string(nil), d.errs...)
}

// never is the ElectionAgent of a worker that must not lead.
type never struct{}

func (never) RequestLeadership(context.Context, string, time.Duration) (bool, error) {
	return false, nil
}
func (never) RenewLeadership(context.Context) error   { return errors.New("it does not lead") }
func (never) ReleaseLeadership(context.Context) error { return nil }
func (never) IsLeader(context.Context) bool           { return false }

// fleet is a fleet under accounts.conf: workers that may lead share one user, workers
// 8 and 9 have their own and never lead.
type fleet struct {
	srv     *partitest.Server
	keys    keyring
	denied  *denials
	workers []*parti.Manager // 0, 1, 8, 9
	links   []*partitest.Link
	errs    *denials
}

const partitions = 40

// idOf8 finds where accounts.conf says which worker worker 8 is.
var idOf8 = regexp.MustCompile(`(worker-|\bid\.)8\b`)

func startFleet(t *testing.T, srv *partitest.Server, keys keyring, mode parti.Ownership) *fleet {
	t.Helper()
	f := &fleet{srv: srv, keys: keys, denied: &denials{}, errs: &denials{}}
	makeBuckets(t, srv.Connect(t, append(keys.as(t, "PARTI_ADMIN"), f.denied.option())...))
	src := source.NewStatic(fleettest.Numbered(partitions))
	for _, w := range []struct {
		role     string
		min, max int
	}{{"PARTI_WORKER", 0, 7}, {"PARTI_WORKER", 0, 7}, {"PARTI_WORKER_8", 8, 8}, {"PARTI_WORKER_9", 9, 9}} {
		link := srv.NewLink(t)
		nc := link.Connect(t, append(keys.as(t, w.role), f.denied.option())...)
		cfg := parti.Config{WorkerIDMin: w.min, WorkerIDMax: w.max, Ownership: mode}
		opts := []parti.Option{parti.WithLogger(partitest.NewLogger(t)), parti.WithHooks(&parti.Hooks{
			OnError: func(_ context.Context, err error) error {
				f.errs.mu.Lock()
				defer f.errs.mu.Unlock()
				f.errs.errs = append(f.errs.errs, err.Error())
				return nil
			},
		})}
		if w.min > 0 {
			opts = append(opts, parti.WithElectionAgent(never{}))
		}
		f.workers = append(f.workers, fleettest.NewManager(t, nc, cfg, src, opts...))
		f.links = append(f.links, link)
	}
	fleettest.StartAll(t, f.workers...)
	time.Sleep(time.Minute)
	synctest.Wait()
	fleettest.OwnedOnce(t, f.workers, partitions)
	return f
}

// makeBuckets does what nats kv add does, with what OPERATIONS.md wants of a bucket.
func makeBuckets(t *testing.T, nc *nats.Conn) {
	t.Helper()
	js := stream(t, nc)
	names := parti.DefaultConfig().KVBucket
	for _, b := range []string{names.StableIDBucket, names.ElectionBucket, names.HeartbeatBucket, names.AssignmentBucket} {
		if _, err := js.CreateKeyValue(t.Context(), jetstream.KeyValueConfig{Bucket: b, History: 1}); err != nil {
			t.Fatal(err)
		}
		s, err := js.Stream(t.Context(), "KV_"+b)
		if err != nil {
			t.Fatal(err)
		}
		cfg := s.CachedInfo().Config
		cfg.MaxConsumers = 10_000
		if _, err := js.UpdateStream(t.Context(), cfg); err != nil && !strings.Contains(err.Error(), "max consumers") {
			t.Fatal(err)
		}
	}
}

func stream(t *testing.T, nc *nats.Conn) jetstream.JetStream {
	t.Helper()
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	return js
}

// check fails unless these workers own everything, and nothing was refused to anybody.
func (f *fleet) check(t *testing.T, ws ...*parti.Manager) {
	t.Helper()
	synctest.Wait()
	fleettest.OwnedOnce(t, ws, partitions)
	for _, w := range ws {
		if s := w.State(); s != parti.StateStable {
			t.Errorf("%s is %v", w.WorkerID(), s)
		}
	}
	if d := f.denied.all(); len(d) > 0 {
		t.Errorf("refused: %q", d)
	}
}

// TestRolesSuffice runs a fleet through its life: a crash of who cannot lead, of who
// leads, a return, a lost bucket key, a planned leave. Nothing is refused to anybody.
func TestRolesSuffice(t *testing.T) {
	keys := newKeyring(t)
	for _, mode := range []parti.Ownership{parti.OwnershipAvailable, parti.OwnershipExclusive} {
		t.Run(string(mode), func(t *testing.T) {
			partitest.Bubble(t, func(t *testing.T, srv *partitest.Server) {
				f := startFleet(t, srv, keys, mode)
				w := f.workers
				f.check(t, w...)
				for _, id := range []int{2, 3} {
					if w[id].IsLeader() {
						t.Errorf("%s leads", w[id].WorkerID())
					}
				}
				crash := func(i int, rest ...*parti.Manager) {
					f.links[i].Cut()
					time.Sleep(30*time.Second + 300*time.Millisecond)
					f.check(t, rest...)
					f.links[i].Heal()
					time.Sleep(time.Minute)
					f.check(t, w...)
				}
				crash(3, w[0], w[1], w[2])
				if w[0].IsLeader() {
					crash(0, w[1], w[2], w[3])
				} else {
					crash(1, w[0], w[2], w[3])
				}
				// The head is lost: everybody writes what it holds.
				admin := stream(t, srv.Connect(t, keys.as(t, "PARTI_ADMIN")...))
				s, err := admin.Stream(t.Context(), "KV_parti-assignment")
				if err != nil {
					t.Fatal(err)
				}
				if err := s.Purge(t.Context()); err != nil {
					t.Fatal(err)
				}
				time.Sleep(time.Minute)
				f.check(t, w...)
				if err := w[2].Stop(t.Context()); err != nil {
					t.Error(err)
				}
				time.Sleep(time.Minute)
				f.check(t, w[0], w[1], w[3])
			}, fromFile(t, "accounts.conf"))
		})
	}
}
