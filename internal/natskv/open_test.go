package natskv_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/arloliu/parti/internal/natskv"
)

// refused opens, expects an error of the kind whose text has all the parts, and
// expects it soon, not at the deadline.
func refused(t *testing.T, js jetstream.JetStream, cfg natskv.Config, kind error, parts ...string) {
	t.Helper()
	s, err := natskv.Open(within(t), js, cfg)
	if err == nil {
		s.Close()
	}
	if !errors.Is(err, kind) || errors.Is(err, context.DeadlineExceeded) {
		t.Fatalf("got error %v, want %v at once", err, kind)
	}
	for _, part := range parts {
		if !strings.Contains(err.Error(), part) {
			t.Errorf("error %q does not say %q", err, part)
		}
	}
}

// streams lists the streams, sorted.
func streams(t *testing.T, js jetstream.JetStream) []string {
	t.Helper()
	var names []string
	for name := range js.StreamNames(within(t)).Name() {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

func TestOpenCreatesWhatIsAbsent(t *testing.T) {
	d := startServer(t, nil)
	js := d.connect(t)
	if _, err := js.CreateKeyValue(within(t), jetstream.KeyValueConfig{Bucket: "election"}); err != nil {
		t.Fatal(err)
	}
	s := open(t, js, config())
	for i, name := range config().Buckets {
		st, err := js.Stream(within(t), "KV_"+name)
		if err != nil {
			t.Fatal(err)
		}
		info := st.CachedInfo()
		if got, want := s.Created(i), info.Created.UTC().Format(time.RFC3339Nano); got != want {
			t.Errorf("bucket %s: created %q, want %q", name, got, want)
		}
		if name == "election" {
			continue
		}
		if c := info.Config; c.MaxConsumers != 10_000 || c.MaxMsgsPerSubject != 1 || !c.AllowMsgTTL ||
			c.Storage != jetstream.FileStorage || c.Replicas != 1 || c.Discard != jetstream.DiscardNew || !c.DenyDelete {
			t.Errorf("bucket %s is created as %+v", name, c)
		}
	}
	if w := s.Warnings(); len(w) != 1 || !strings.Contains(w[0], "election") || !strings.Contains(w[0], "--max-consumers 10000") {
		t.Errorf("warnings %q, want one about the consumers of bucket election", w)
	}
}

func TestOpenInMemory(t *testing.T) {
	js := startServer(t, nil).connect(t)
	cfg := config()
	cfg.Memory = true
	open(t, js, cfg)
	st, err := js.Stream(within(t), "KV_ids")
	if err != nil {
		t.Fatal(err)
	}
	if st.CachedInfo().Config.Storage != jetstream.MemoryStorage {
		t.Error("the bucket is not in memory")
	}
	// Better than asked for is good enough, worse is not.
	refused(t, js, config(), natskv.ErrBucket, "memory", "file storage is asked for")
}

func TestOpenTogether(t *testing.T) {
	d := startServer(t, nil)
	const n = 8
	var wg sync.WaitGroup
	var created [n]string
	for i := range n {
		js := d.connect(t)
		wg.Go(func() {
			s, err := natskv.Open(within(t), js, config())
			if err != nil {
				t.Error(err)
				return
			}
			defer s.Close()
			created[i] = s.Created(0)
		})
	}
	wg.Wait()
	for i := range n {
		if created[i] != created[0] || created[i] == "" {
			t.Errorf("created %q and %q", created[i], created[0])
		}
	}
}

// Another worker's bucket, made at the same moment and not quite like ours,
// serves.
func TestOpenWhenAnotherWasFaster(t *testing.T) {
	_, s := startScript(t, func(sc *scripted) { sc.absent.Store(natskv.Buckets) })
	for i := range natskv.Buckets {
		if s.Created(i) == "" {
			t.Errorf("bucket %d is not bound", i)
		}
	}
}

func TestOpenSealed(t *testing.T) {
	js := startServer(t, nil).connect(t)
	open(t, js, config())
	st, err := js.Stream(within(t), "KV_ids")
	if err != nil {
		t.Fatal(err)
	}
	cfg := st.CachedInfo().Config
	cfg.Sealed = true
	if _, err := js.UpdateStream(within(t), cfg); err != nil {
		t.Fatal(err)
	}
	refused(t, js, config(), natskv.ErrBucket, "ids", "sealed")
}

func TestOpenRefusesWhatCannotServe(t *testing.T) {
	for _, c := range []struct {
		name   string
		change func(c *jetstream.StreamConfig)
		says   []string
	}{
		{"history", func(c *jetstream.StreamConfig) { c.MaxMsgsPerSubject = 5 }, []string{"keeps 5 values", "--max-msgs-per-subject 1"}},
		{"ttl", func(c *jetstream.StreamConfig) { c.MaxAge = time.Hour }, []string{"expires keys after 1h0m0s", "--max-age 0"}},
		{"memory", func(c *jetstream.StreamConfig) { c.Storage = jetstream.MemoryStorage }, []string{"in memory"}},
		{"discard old", func(c *jetstream.StreamConfig) {
			c.Discard, c.MaxBytes = jetstream.DiscardOld, 1<<20
		}, []string{"drops old keys", "--discard new"}},
		{"work queue", func(c *jetstream.StreamConfig) { c.Retention = jetstream.WorkQueuePolicy }, []string{"retention"}},
		{"subjects", func(c *jetstream.StreamConfig) { c.Subjects = []string{"other.>"} }, []string{"$KV.heartbeats.>"}},
		{"roll-ups", func(c *jetstream.StreamConfig) { c.AllowRollup = false }, []string{"roll-ups"}},
		{"acks", func(c *jetstream.StreamConfig) { c.NoAck = true }, []string{"acknowledge"}},
		{"mirror", func(c *jetstream.StreamConfig) {
			c.Mirror, c.Subjects, c.AllowRollup = &jetstream.StreamSource{Name: "KV_x"}, nil, false
		}, []string{"mirror"}},
		{"transform", func(c *jetstream.StreamConfig) {
			c.SubjectTransform = &jetstream.SubjectTransformConfig{Source: ">", Destination: "x.>"}
		}, []string{"transform"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			js := startServer(t, nil).connect(t)
			cfg := jetstream.StreamConfig{
				Name: "KV_heartbeats", Subjects: []string{"$KV.heartbeats.>"}, MaxMsgsPerSubject: 1,
				AllowRollup: true, Discard: jetstream.DiscardNew,
			}
			c.change(&cfg)
			if _, err := js.CreateStream(within(t), cfg); err != nil {
				t.Fatal(err)
			}
			refused(t, js, config(), natskv.ErrBucket, append(c.says, "heartbeats")...)
			if got := streams(t, js); len(got) != 1 {
				t.Errorf("streams %q: something was created although the bucket cannot serve", got)
			}
		})
	}
}

func TestOpenReplicas(t *testing.T) {
	js := startServer(t, nil).connect(t)
	cfg := config()
	cfg.Replicas = 3
	refused(t, js, cfg, natskv.ErrBucket, "replicas > 1 not supported")
	open(t, js, config())
	refused(t, js, cfg, natskv.ErrBucket, "has 1 replicas where 3 are asked for", "--replicas 3")
}

func TestOpenReportsLimits(t *testing.T) {
	js := startServer(t, nil).connect(t)
	for _, cfg := range []jetstream.StreamConfig{
		{Name: "KV_ids", Subjects: []string{"$KV.ids.>"}, MaxConsumers: 50},
		{Name: "KV_election", Subjects: []string{"$KV.election.>"}, MaxConsumers: 20_000, Discard: jetstream.DiscardNew, MaxBytes: 1 << 20},
	} {
		cfg.AllowRollup, cfg.MaxMsgsPerSubject = true, 1
		if _, err := js.CreateStream(within(t), cfg); err != nil {
			t.Fatal(err)
		}
	}
	s := open(t, js, config())
	if err := s.Rebind(within(t)); err != nil {
		t.Fatal(err)
	}
	w := s.Warnings()
	if len(w) != 2 || !strings.Contains(w[0], "bucket ids allows 50 consumers") || !strings.Contains(w[1], "1048576 bytes") {
		t.Errorf("warnings %q, want one about the consumers of ids and one about the size of election", w)
	}
}

func TestOpenWithoutConnection(t *testing.T) {
	d := startServer(t, nil)
	js := d.connect(t)
	js.Conn().Close()
	refused(t, js, config(), natskv.ErrNoConnection)

	d.stop()
	nc, err := nats.Connect(d.ClientURL(), nats.RetryOnFailedConnect(true), nats.MaxReconnects(-1))
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	js, err = jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	refused(t, js, config(), natskv.ErrNoConnection)
}

func TestOpenWithoutJetStream(t *testing.T) {
	d := startServer(t, func(o *server.Options) { o.JetStream = false })
	refused(t, d.connect(t), config(), natskv.ErrNoJetStream, "-js")
}

// withConfig makes a server read accounts and users from text.
func withConfig(t *testing.T, text string) func(o *server.Options) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "nats.conf")
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return func(o *server.Options) {
		dir := o.StoreDir
		if err := o.ProcessConfigFile(file); err != nil {
			t.Fatal(err)
		}
		o.StoreDir, o.JetStream = dir, true
	}
}

func TestOpenInAccountWithoutJetStream(t *testing.T) {
	d := startServer(t, withConfig(t, `accounts {
		A { users = [{user: a, password: a}] }
		B { jetstream: enabled, users = [{user: b, password: b}] }
	}`))
	refused(t, d.connect(t, nats.UserInfo("a", "a")), config(), natskv.ErrNoJetStream, "account")
}

func TestOpenWithAccountLimit(t *testing.T) {
	d := startServer(t, withConfig(t, `accounts {
		A { jetstream: {max_mem: 1G, max_file: 1G, max_streams: 10, max_consumers: 500}, users = [{user: a, password: a}] }
	}`))
	js := d.connect(t, nats.UserInfo("a", "a"))
	open(t, js, config())
	if got := streams(t, js); len(got) != natskv.Buckets {
		t.Errorf("streams %q", got)
	}
}

func TestOpenWithoutPermission(t *testing.T) {
	d := startServer(t, withConfig(t, `
		accounts { A { jetstream: enabled, users = [
			{user: admin, password: x}
			{user: noinfo, password: x, permissions: {publish: {deny: ["$JS.API.STREAM.INFO.KV_heartbeats"]}}}
			{user: nocreate, password: x, permissions: {publish: {deny: ["$JS.API.STREAM.CREATE.>"]}}}
			{user: noinbox, password: x, permissions: {subscribe: {deny: ["_INBOX.>"]}}}
			{user: nowrite, password: x, permissions: {publish: {deny: ["$KV.ids.>"]}}}
		]}}`))
	user := func(name string) jetstream.JetStream { return d.connect(t, nats.UserInfo(name, "x")) }

	refused(t, user("noinfo"), config(), natskv.ErrPermission, "bucket heartbeats", "$JS.API.STREAM.INFO.KV_heartbeats", "allow it")
	nocreate := user("nocreate")
	refused(t, nocreate, config(), natskv.ErrPermission, "$JS.API.STREAM.CREATE.KV_", "create the bucket beforehand")
	refused(t, user("noinbox"), config(), natskv.ErrPermission, "inbox", "CustomInboxPrefix")

	admin := user("admin")
	if got := streams(t, admin); len(got) != 0 {
		t.Errorf("streams %q: something was created", got)
	}
	open(t, admin, config())
	open(t, nocreate, config()) // an earlier denial is not held against it

	s := open(t, user("nowrite"), config())
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	_, err := s.Create(ctx, 0, "k", nil)
	if !errors.Is(err, natskv.ErrAmbiguous) || !strings.Contains(err.Error(), `the right to publish to "$KV.ids.k"`) {
		t.Errorf("create without the right: %v", err)
	}
}

func TestOpenKeepsTheDeadline(t *testing.T) {
	d := startServer(t, func(o *server.Options) { o.JetStream = false })
	js := d.connect(t)
	// Somebody listens and says nothing.
	sub, err := js.Conn().SubscribeSync("$JS.API.>")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = sub.Unsubscribe() }()
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	_, err = natskv.Open(ctx, js, config())
	if !errors.Is(err, natskv.ErrNoJetStream) || !errors.Is(err, context.DeadlineExceeded) ||
		!strings.Contains(err.Error(), "unanswered: $JS.API.STREAM.INFO.KV_ids") {
		t.Errorf("got %v, want no JetStream within the deadline", err)
	}
	cfg := config()
	cfg.Timeout = 50 * time.Millisecond
	if _, err = natskv.Open(t.Context(), js, cfg); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v, want the configured timeout", err)
	}
}

func TestRebind(t *testing.T) {
	js := startServer(t, nil).connect(t)
	s := open(t, js, config())
	ctx := within(t)
	if _, err := s.Create(ctx, 0, "k", nil); err != nil {
		t.Fatal(err)
	}
	before := [2]string{s.Created(0), s.Created(1)}
	if err := js.DeleteStream(ctx, "KV_ids"); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Get(ctx, 0, "k"); !errors.Is(err, natskv.ErrBucketGone) || !errors.Is(err, natskv.ErrRefused) {
		t.Errorf("get from a deleted bucket: %v", err)
	}
	if _, err := s.Create(ctx, 0, "k", nil); !errors.Is(err, natskv.ErrRefused) {
		t.Errorf("create in a deleted bucket: %v", err)
	}
	if err := s.Rebind(ctx); err != nil {
		t.Fatal(err)
	}
	if s.Created(0) == before[0] || s.Created(1) != before[1] {
		t.Errorf("creation times %q and %q, before %q", s.Created(0), s.Created(1), before)
	}
	if rev, err := s.Create(ctx, 0, "k", nil); err != nil || rev != 1 {
		t.Errorf("create in the new bucket: revision %d, %v", rev, err)
	}
}
