package sqltest

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"go.uber.org/goleak"
	_ "modernc.org/sqlite"

	"github.com/arloliu/parti"
	"github.com/arloliu/parti/source"
	"github.com/arloliu/parti/strategy"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func open(t *testing.T, driver, dsn string) *sql.DB {
	t.Helper()
	db, err := sql.Open(driver, dsn)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := db.Close(); err != nil {
			t.Error(err)
		}
	})
	return db
}

// engines are the databases; param is how a query names its first argument, and
// slow a query that does not end by itself.
var engines = map[string]struct {
	open  func(*testing.T) *sql.DB
	param string
	slow  string
}{
	"postgres": {postgres, "$1", "SELECT 'a' AS k FROM pg_sleep(3600)"},
	"sqlite": {
		func(t *testing.T) *sql.DB {
			t.Helper()
			return open(t, "sqlite", "file:"+filepath.Join(t.TempDir(), "db"))
		},
		"?1", "WITH RECURSIVE n(k) AS (SELECT 1 UNION ALL SELECT k + 1 FROM n) SELECT max(k) AS k FROM n",
	},
}

func TestSQL(t *testing.T) {
	for name, engine := range engines {
		t.Run(name, func(t *testing.T) {
			db := engine.open(t)
			exec := func(statements ...string) {
				t.Helper()
				for _, s := range statements {
					if _, err := db.ExecContext(t.Context(), s); err != nil {
						t.Fatalf("%s: %v", s, err)
					}
				}
			}
			exec(
				`CREATE TABLE shards (tenant TEXT, shard BIGINT, cost BIGINT, region TEXT, active BOOLEAN)`,
				`INSERT INTO shards VALUES ('acme', 0, 150, 'eu', true), ('acme', 1, NULL, 'eu', true),
					('zürich.*', 7, 0, 'eu', true), ('idle', 0, 1, NULL, false)`,
			)
			lists := func(query string, args ...any) string {
				t.Helper()
				list, err := source.NewSQL(db, query, args...).ListPartitions(t.Context())
				if err != nil {
					t.Errorf("%s: %v", query, err)
				}
				if list == nil {
					t.Errorf("%s: no list", query)
				}
				var b strings.Builder
				for _, p := range list {
					fmt.Fprintf(&b, "%q:%d ", p.Keys, p.Weight)
				}
				return strings.TrimSpace(b.String())
			}
			for query, want := range map[string]string{
				`SELECT tenant, shard, cost AS weight FROM shards WHERE active ORDER BY tenant, shard`: `["acme" "0"]:150 ["acme" "1"]:0 ["zürich.*" "7"]:0`,
				`SELECT cost AS "WEIGHT", shard, tenant FROM shards WHERE shard = 0 AND active`:        `["0" "acme"]:150`,
				`SELECT tenant, shard FROM shards WHERE shard = 1`:                                     `["acme" "1"]:0`,
				`SELECT tenant FROM shards WHERE 1 = 0`:                                                ``,
			} {
				if got := lists(query); got != want {
					t.Errorf("%s\nlists %s\nwant  %s", query, got, want)
				}
			}
			if got := lists(`SELECT tenant FROM shards WHERE shard = `+engine.param, 7); got != `["zürich.*"]:0` {
				t.Errorf("with an argument: %s", got)
			}
			for query, texts := range map[string][]string{
				`SELECT tenant, region, cost AS weight FROM shards ORDER BY cost DESC, tenant DESC, shard`: {"malformed", "row", `column "region" is NULL`, "COALESCE"},
				`SELECT tenant, '' AS part FROM shards`:                                                    {"malformed", "row 1", `column "part" is empty`},
				`SELECT shard, tenant AS weight FROM shards`:                                               {"malformed", "row 1", `name "weight"`},
				`SELECT tenant, 1.5 AS weight FROM shards`:                                                 {"malformed", "row 1", `name "weight"`},
				`SELECT cost AS weight FROM shards`:                                                        {"malformed", "every other one is a key"},
				`SELECT tenant, cost AS weight, 1 AS weight FROM shards`:                                   {"malformed", `2 columns named "weight"`},
				`SELECT tenant FROM shard`:                                                                 {"query partitions", "shard"},
			} {
				_, err := source.NewSQL(db, query).ListPartitions(t.Context())
				if err == nil {
					t.Errorf("%s: no error", query)
					continue
				}
				for _, text := range texts {
					if !strings.Contains(err.Error(), text) || text == "malformed" && !errors.Is(err, source.ErrMalformed) {
						t.Errorf("%s: %v, want %q", query, err, text)
					}
				}
			}
			ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
			defer cancel()
			began := time.Now()
			if _, err := source.NewSQL(db, engine.slow).ListPartitions(ctx); err == nil || ctx.Err() == nil {
				t.Errorf("a query that does not end: %v", err)
			}
			if took := time.Since(began); took > 10*time.Second {
				t.Errorf("it took %v to give up", took)
			}
			if n := db.Stats().InUse; n != 0 {
				t.Errorf("%d connections are still in use", n)
			}
		})
	}
}

// exampleServer starts a NATS server that needs no port.
func exampleServer() (js jetstream.JetStream, stop func()) {
	dir, err := os.MkdirTemp("", "parti-example")
	if err != nil {
		panic(err)
	}
	srv, err := server.NewServer(&server.Options{DontListen: true, JetStream: true, StoreDir: dir, NoSigs: true})
	if err != nil {
		panic(err)
	}
	srv.Start()
	nc, err := nats.Connect("", append(parti.NATSOptions(), nats.InProcessServer(srv))...)
	if err != nil {
		panic(err)
	}
	if js, err = jetstream.New(nc); err != nil {
		panic(err)
	}
	return js, func() {
		nc.Close()
		srv.Shutdown()
		srv.WaitForShutdown()
		_ = os.RemoveAll(dir)
	}
}

// Workers divide what a table lists, and follow it when they are asked to.
func Example() {
	js, stop := exampleServer()
	defer stop()
	db, err := sql.Open("sqlite", ":memory:")
	if err != nil {
		panic(err)
	}
	defer func() { _ = db.Close() }()
	db.SetMaxOpenConns(1) // every connection has a memory of its own
	ctx := context.Background()
	for _, statement := range []string{
		`CREATE TABLE shards (tenant TEXT NOT NULL, shard INTEGER NOT NULL, cost INTEGER)`,
		`INSERT INTO shards VALUES ('acme', 0, 150), ('acme', 1, NULL)`,
	} {
		if _, err := db.ExecContext(ctx, statement); err != nil {
			panic(err)
		}
	}

	src := source.NewSQL(db, `SELECT tenant, shard, cost AS weight FROM shards`)
	cfg := &parti.Config{
		RefreshInterval: 5 * time.Minute, // and RefreshPartitions when you know better
		ColdStartSettle: 100 * time.Millisecond,
	}
	cfg.Assignment.MinRebalanceInterval = 100 * time.Millisecond
	gained := make(chan []parti.Partition, 10)
	hooks := &parti.Hooks{OnAssignmentChanged: func(_ context.Context, added, _ []parti.Partition) error {
		gained <- added
		return nil
	}}
	mgr, err := parti.NewManager(cfg, js, src, strategy.NewConsistentHash(), parti.WithHooks(hooks))
	if err != nil {
		panic(err)
	}
	if err := mgr.Start(ctx); err != nil {
		panic(err)
	}
	fmt.Println(<-gained)
	if _, err := db.ExecContext(ctx, `INSERT INTO shards VALUES ('zenith', 0, 50)`); err != nil {
		panic(err)
	}
	if err := mgr.RefreshPartitions(ctx); err != nil {
		panic(err)
	}
	fmt.Println(<-gained)
	if err := mgr.Stop(ctx); err != nil {
		panic(err)
	}
	// Output:
	// [acme.0 acme.1]
	// [zenith.0]
}
