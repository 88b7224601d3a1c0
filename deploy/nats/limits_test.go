package nats_test

import (
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/arloliu/parti"
	partitest "github.com/arloliu/parti/testing"
)

// hand is a connection in a role, in the hands of somebody hostile.
type hand struct {
	*nats.Conn
	denied *denials
}

func (f *fleet) hand(t *testing.T, role string) *hand {
	t.Helper()
	h := &hand{denied: &denials{}}
	h.Conn = f.srv.Connect(t, append(f.keys.as(t, role), h.denied.option())...)
	return h
}

// refuses fails unless the server refuses this role to publish to subject.
func (h *hand) refuses(t *testing.T, subject string) {
	t.Helper()
	before := len(h.denied.all())
	if err := h.Publish(subject, []byte(`{"f":1}`)); err != nil {
		t.Fatal(err)
	}
	h.denied.next(t, h.Conn, before, "publish to "+subject)
}

// deaf fails unless the server refuses this role to listen to subject.
func (h *hand) deaf(t *testing.T, subject string) {
	t.Helper()
	before := len(h.denied.all())
	sub, err := h.SubscribeSync(subject)
	if err != nil {
		t.Fatal(err)
	}
	h.denied.next(t, h.Conn, before, "listen to "+subject)
	_ = sub.Unsubscribe()
}

func (d *denials) next(t *testing.T, nc *nats.Conn, before int, what string) {
	t.Helper()
	if err := nc.Flush(); err != nil {
		t.Fatal(err)
	}
	time.Sleep(100 * time.Millisecond)
	if all := d.all(); len(all) != before+1 || !strings.Contains(strings.ToLower(all[before]), "permissions violation") {
		t.Errorf("%s was not refused: %q", what, all[before:])
	}
}

// values are all keys of the buckets with their revisions.
func values(t *testing.T, nc *nats.Conn) map[string]uint64 {
	t.Helper()
	all := map[string]uint64{}
	for _, b := range buckets {
		kv, err := observed(t, nc).KeyValue(t.Context(), b)
		if err != nil {
			t.Fatal(err)
		}
		for _, key := range keysOf(t, nc, b) {
			e, err := kv.Get(t.Context(), key)
			switch {
			case errors.Is(err, jetstream.ErrKeyNotFound): // the mark of a deletion
			case err != nil:
				t.Errorf("%s %s: %v", b, key, err)
			default:
				all[b+" "+key] = e.Revision()
			}
		}
	}
	return all
}

var buckets = []string{"parti-stableid", "parti-election", "parti-heartbeat", "parti-assignment"}

// keysOf lists keys as `nats stream subjects` does: without a consumer.
func keysOf(t *testing.T, nc *nats.Conn, bucket string) []string {
	t.Helper()
	s, err := observed(t, nc).Stream(t.Context(), "KV_"+bucket)
	if err != nil {
		t.Fatal(err)
	}
	info, err := s.Info(t.Context(), jetstream.WithSubjectFilter(">"))
	if err != nil {
		t.Fatal(err)
	}
	var keys []string
	for subject := range info.State.Subjects {
		keys = append(keys, strings.TrimPrefix(subject, "$KV."+bucket+"."))
	}
	return keys
}

// observed is the JetStream of PARTI as observers reach it.
func observed(t *testing.T, nc *nats.Conn) jetstream.JetStream {
	t.Helper()
	js, err := jetstream.NewWithAPIPrefix(nc, "PARTI.API")
	if err != nil {
		t.Fatal(err)
	}
	return js
}

func get(t *testing.T, nc *nats.Conn, bucket, key string) jetstream.KeyValueEntry {
	t.Helper()
	kv, err := observed(t, nc).KeyValue(t.Context(), bucket)
	if err != nil {
		t.Fatal(err)
	}
	e, err := kv.Get(t.Context(), key)
	if err != nil {
		t.Fatalf("%s %s: %v", bucket, key, err)
	}
	return e
}

// TestRolesAreLimited: what each role may not do, the server refuses.
func TestRolesAreLimited(t *testing.T) {
	keys := newKeyring(t)
	partitest.Bubble(t, func(t *testing.T, srv *partitest.Server) {
		f := startFleet(t, srv, keys, parti.OwnershipAvailable)
		others := []string{
			"$KV.parti-stableid.worker.id.0", "$KV.parti-stableid.worker.id.9", "$KV.parti-heartbeat.worker.hb.worker-0",
			"$KV.parti-heartbeat.worker.hb.worker-9", "$KV.parti-assignment.worker.held.worker-9", "$KV.parti-election.worker.leader",
			"$KV.parti-assignment.worker.head", "$KV.parti-assignment.worker.part.worker-8.1.1", "$KV.parti-assignment.worker.drain.worker-8.1.1",
		}
		own := []string{
			"$KV.parti-stableid.worker.id.8", "$KV.parti-heartbeat.worker.hb.worker-8", "$KV.parti-assignment.worker.held.worker-8",
		}
		groups := []string{"$KV.parti-heartbeat.other.hb.worker-8", "$KV.parti-assignment.other.head"}
		var api []string
		for _, b := range buckets {
			for _, verb := range []string{"CREATE", "UPDATE", "DELETE", "PURGE", "SNAPSHOT", "RESTORE", "MSG.DELETE"} {
				api = append(api, "$JS.API.STREAM."+verb+".KV_"+b)
			}
			api = append(api, "$JS.API.CONSUMER.DELETE.KV_"+b+".x", "$JS.API.CONSUMER.DURABLE.CREATE.KV_"+b+".x",
				"$JS.API.CONSUMER.CREATE.KV_"+b, "$JS.API.CONSUMER.CREATE.KV_"+b+".x", "$JS.API.CONSUMER.CREATE.KV_"+b+".x.>",
				"$JS.API.CONSUMER.CREATE.KV_"+b+".x.$KV."+b+".other.>")
		}
		follower := f.hand(t, "PARTI_WORKER_8")
		before := values(t, f.hand(t, "PARTI_OBSERVER").Conn)
		for _, s := range append(append(append([]string{}, others...), groups...), api...) {
			follower.refuses(t, s)
		}
		for _, inbox := range []string{"_INBOX_worker.>", "_INBOX_worker-9.>", "_INBOX.>", "$KV.>", "$JS.API.>", ">"} {
			follower.deaf(t, inbox)
		}
		candidate := f.hand(t, "PARTI_WORKER")
		for _, s := range append(append([]string{}, groups...), api...) {
			candidate.refuses(t, s)
		}
		candidate.deaf(t, "_INBOX_worker-8.>")
		observer := f.hand(t, "PARTI_OBSERVER")
		for _, s := range append(append(append(append([]string{"parti.worker.probe.x"}, own...), others...), groups...), api...) {
			observer.refuses(t, s)
		}
		observer.deaf(t, "parti.worker.probe.*")
		admin := f.hand(t, "PARTI_ADMIN")
		for _, s := range append(append([]string{"parti.worker.probe.x", "$JS.API.STREAM.CREATE.other"}, own...), others...) {
			admin.refuses(t, s)
		}
		time.Sleep(time.Minute)
		after := values(t, observer.Conn)
		for key := range after {
			if _, ok := before[key]; !ok {
				t.Errorf("%s was not there before", key)
			}
		}
		for key, rev := range before {
			if strings.Contains(key, ".head") || strings.Contains(key, ".part.") || strings.Contains(key, ".drain.") {
				if after[key] != rev {
					t.Errorf("%s was at %d and is at %d", key, rev, after[key])
				}
			}
		}
		f.check(t, f.workers...)
	}, fromFile(t, "accounts.conf"))
}

// TestObserverReadsAndCannotWrite: what an observer asks for is answered, and into its
// own account, whatever it names as the place for the answer.
func TestObserverReadsAndCannotWrite(t *testing.T) {
	keys := newKeyring(t)
	partitest.Bubble(t, func(t *testing.T, srv *partitest.Server) {
		f := startFleet(t, srv, keys, parti.OwnershipAvailable)
		o := f.hand(t, "PARTI_OBSERVER")
		if n := len(values(t, o.Conn)); n < 4+4+1+1+4 { // ids, heartbeats, leader, head, payloads
			t.Errorf("sees %d keys", n)
		}
		var leader struct{ W string }
		if err := json.Unmarshal(get(t, o.Conn, "parti-election", "worker.leader").Value(), &leader); err != nil || leader.W == "" {
			t.Errorf("%v %v", leader, err)
		}
		for _, api := range []string{"DIRECT.GET.KV_parti-heartbeat", "STREAM.MSG.GET.KV_parti-heartbeat", "STREAM.INFO.KV_parti-heartbeat"} {
			h := f.hand(t, "PARTI_OBSERVER")
			if err := h.PublishRequest("PARTI.API."+api, "$KV.parti-election.worker.leader", []byte(`{"last_by_subj":"$KV.parti-heartbeat.worker.hb.worker-8"}`)); err != nil {
				t.Error(err)
			}
			time.Sleep(time.Second)
		}
		time.Sleep(time.Minute)
		if e := get(t, o.Conn, "parti-election", "worker.leader"); !json.Valid(e.Value()) || !strings.Contains(string(e.Value()), `"w":`) {
			t.Errorf("the leader key is %s", e.Value())
		}
		if e := f.errs.all(); len(e) > 0 {
			t.Errorf("reported: %q", e)
		}
		f.check(t, f.workers...)
	}, fromFile(t, "accounts.conf"))
}

// TestWhatTheServerCannotPrevent: a right to use JetStream is a right to have the server
// write, since it does not check where its answers go. SECURITY.md
// says so. A worker that cannot lead has the server write under the leader key: what lands
// there is no value of ours, and costs the fleet its leader for a moment.
func TestWhatTheServerCannotPrevent(t *testing.T) {
	keys := newKeyring(t)
	partitest.Bubble(t, func(t *testing.T, srv *partitest.Server) {
		f := startFleet(t, srv, keys, parti.OwnershipAvailable)
		o, h := f.hand(t, "PARTI_OBSERVER"), f.hand(t, "PARTI_WORKER_8")
		term := leaderTerm(t, get(t, o.Conn, "parti-election", "worker.leader"))
		if err := h.PublishRequest("$JS.API.STREAM.INFO.KV_parti-heartbeat", "$KV.parti-election.worker.leader", nil); err != nil {
			t.Fatal(err)
		}
		time.Sleep(100 * time.Millisecond)
		if v := get(t, o.Conn, "parti-election", "worker.leader").Value(); !strings.Contains(string(v), `"type"`) {
			t.Fatalf("the server has come to prevent it: %s", v)
		}
		time.Sleep(3 * time.Minute)
		f.check(t, f.workers...)
		if after := leaderTerm(t, get(t, o.Conn, "parti-election", "worker.leader")); after <= term {
			t.Errorf("term %d, had %d", after, term)
		}
		if e := strings.Join(f.errs.all(), "\n"); !strings.Contains(e, parti.ErrForeignValue.Error()) {
			t.Errorf("nobody reported it: %s", e)
		}
	}, fromFile(t, "accounts.conf"))
}

// TestConsumersForgeNothing: a consumer that is to deliver own values into another bucket
// delivers nothing there, since nobody but a stream listens.
func TestConsumersForgeNothing(t *testing.T) {
	keys := newKeyring(t)
	partitest.Bubble(t, func(t *testing.T, srv *partitest.Server) {
		f := startFleet(t, srv, keys, parti.OwnershipAvailable)
		o, h := f.hand(t, "PARTI_OBSERVER"), f.hand(t, "PARTI_WORKER_8")
		term := leaderTerm(t, get(t, o.Conn, "parti-election", "worker.leader"))
		const forged = `{"f":1,"w":"worker-8","inc":"x","t":1,"ttl":8640000000}`
		if err := h.Publish("$KV.parti-stableid.worker.ticket.x", []byte(forged)); err != nil {
			t.Fatal(err)
		}
		body, err := json.Marshal(map[string]any{"stream_name": "KV_parti-stableid", "action": "create", "config": map[string]any{
			"name": "x", "deliver_subject": "$KV.parti-election.worker.leader", "filter_subject": "$KV.parti-stableid.worker.ticket.x",
			"deliver_policy": "last_per_subject", "ack_policy": "none", "mem_storage": true, "num_replicas": 1, "inactive_threshold": time.Minute,
		}})
		if err != nil {
			t.Fatal(err)
		}
		m, err := h.Request("$JS.API.CONSUMER.CREATE.KV_parti-stableid.x.$KV.parti-stableid.worker.ticket.x", body, time.Second)
		if err != nil || strings.Contains(string(m.Data), `"error"`) {
			t.Fatalf("%v %s", err, m.Data)
		}
		time.Sleep(time.Minute + 300*time.Millisecond)
		if keys := keysOf(t, o.Conn, "parti-election"); !slices.Equal(keys, []string{"worker.leader"}) {
			t.Errorf("the server stored it: %q", keys)
		}
		if after := leaderTerm(t, get(t, o.Conn, "parti-election", "worker.leader")); after != term {
			t.Errorf("term %d, had %d", after, term)
		}
		f.check(t, f.workers...)
	}, fromFile(t, "accounts.conf"))
}

func leaderTerm(t *testing.T, e jetstream.KeyValueEntry) uint64 {
	t.Helper()
	var rec struct{ T uint64 }
	if err := json.Unmarshal(e.Value(), &rec); err != nil {
		t.Fatalf("%q: %v", e.Value(), err)
	}
	return rec.T
}
