package subscription

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/arloliu/parti"
	"github.com/arloliu/parti/source"
	"github.com/arloliu/parti/strategy"
	partitest "github.com/arloliu/parti/testing"
)

func TestSlotsOf(t *testing.T) {
	for _, c := range []struct {
		subject           string
		key               []int
		dest, subj1, tmpl string
	}{
		{"orders.*", nil, "orders.{{partition(8,1)}}.{{wildcard(1)}}", "orders.*.*", "orders.{{.PartitionID}}.*"},
		{"a.b.*.c.*", nil, "a.b.{{partition(8,1,2)}}.{{wildcard(1)}}.c.{{wildcard(2)}}", "a.b.*.*.c.*", "a.b.{{.PartitionID}}.*.c.*"},
		{"a.*.*", []int{2}, "a.{{partition(8,2)}}.{{wildcard(1)}}.{{wildcard(2)}}", "a.*.*.*", "a.{{.PartitionID}}.*.*"},
	} {
		s, err := NewSlots(c.subject, 8, c.key...)
		if err != nil {
			t.Fatal(err)
		}
		tr := s.Transform()
		if tr.Source != c.subject || tr.Destination != c.dest || s.Subjects()[0] != c.subject || s.Subjects()[1] != c.subj1 || s.Template() != c.tmpl {
			t.Errorf("%s: %+v, %v, %s", c.subject, tr, s.Subjects(), s.Template())
		}
		if n := len(s.Partitions()); n != 8 {
			t.Errorf("%d partitions", n)
		}
	}
	for _, bad := range []func() (*Slots, error){
		func() (*Slots, error) { return NewSlots("orders", 8) },
		func() (*Slots, error) { return NewSlots("*.orders", 8) },
		func() (*Slots, error) { return NewSlots("orders.>", 8) },
		func() (*Slots, error) { return NewSlots("orders.*", 0) },
		func() (*Slots, error) { return NewSlots("orders.*", 8, 2) },
		func() (*Slots, error) { return NewSlots("", 8) },
	} {
		if _, err := bad(); !errors.Is(err, ErrInvalidConfig) {
			t.Errorf("got %v", err)
		}
	}
}

// TestTheServerAgrees: a message is stored in the slot that Of says.
func TestTheServerAgrees(t *testing.T) {
	partitest.Bubble(t, func(t *testing.T, srv *partitest.Server) {
		for i, key := range [][]int{nil, {1}, {2}} {
			s, err := NewSlots("k"+strconv.Itoa(i)+".*.*", 37, key...)
			ok(t, err)
			js := jsOf(t, srv.Connect(t))
			stream, err := js.CreateStream(t.Context(), jetstream.StreamConfig{
				Name: "S" + strconv.Itoa(i), Subjects: s.Subjects(), SubjectTransform: s.Transform(),
			})
			ok(t, err)
			for n := range uint64(50) {
				parts := []string{"c" + strconv.Itoa(int(n)), "t" + strconv.Itoa(int(n*n))}
				_, err := js.Publish(t.Context(), fmt.Sprintf("k%d.%s", i, strings.Join(parts, ".")), nil)
				ok(t, err)
				msg, err := stream.GetMsg(t.Context(), n+1)
				ok(t, err)
				hashed := parts
				if key != nil {
					hashed = parts[key[0]-1 : key[0]]
				}
				if want := fmt.Sprintf("k%d.%d.%s", i, s.Of(hashed...), strings.Join(parts, ".")); msg.Subject != want {
					t.Fatalf("stored as %s, want %s", msg.Subject, want)
				}
			}
		}
	})
}

// TestSlotsAreDoubled follows docs/slots.md, with publishers and workers that never
// pause: nothing is lost or doubled, and each key's messages stay in order.
func TestSlotsAreDoubled(t *testing.T) {
	for _, retention := range []jetstream.RetentionPolicy{jetstream.LimitsPolicy, jetstream.WorkQueuePolicy} {
		t.Run(retention.String(), func(t *testing.T) {
			partitest.Bubble(t, func(t *testing.T, srv *partitest.Server) { doubleSlots(t, srv, retention) })
		})
	}
}

func doubleSlots(t *testing.T, srv *partitest.Server, retention jetstream.RetentionPolicy) {
	const keys, rounds, switchAt = 60, 20, 8
	from, err := NewSlots("orders.*", 4)
	ok(t, err)
	to, err := NewSlots("orders.*", 8)
	ok(t, err)
	js := jsOf(t, srv.Connect(t))
	cfg := jetstream.StreamConfig{
		Name: "ORDERS", Retention: retention, Subjects: from.Subjects(), SubjectTransform: from.Transform(), MaxConsumers: 100,
	}
	stream, err := js.CreateStream(t.Context(), cfg)
	ok(t, err)

	var mu sync.Mutex
	done := map[string]int{}
	helper, err := NewDurableHelperJS(js, DurableConfig{
		StreamName: "ORDERS", ConsumerPrefix: "order", SubjectTemplate: from.Template(),
	}, MessageHandlerFunc(func(ctx context.Context, msg jetstream.Msg) error {
		time.Sleep(50 * time.Millisecond) // a backlog grows
		if _, ok := parti.TokenFromContext(ctx); !ok {
			t.Errorf("no token for %s", msg.Subject())
		}
		key := msg.Subject()[strings.LastIndex(msg.Subject(), ".")+1:]
		n, _ := strconv.Atoi(string(msg.Data()))
		mu.Lock()
		defer mu.Unlock()
		if n != done[key] {
			t.Errorf("key %s: message %d after %d", key, n, done[key])
		}
		done[key] = n + 1
		return nil
	}))
	ok(t, err)
	src := source.NewStatic(from.Partitions())
	mgr, err := parti.NewManager(&parti.Config{}, js, src, strategy.NewConsistentHash(), parti.WithWorkerConsumerUpdater(helper))
	ok(t, err)
	ok(t, mgr.Start(t.Context()))
	t.Cleanup(func() { ok(t, mgr.Stop(context.Background())) })

	var doubled sync.WaitGroup
	for round := range rounds {
		for k := range keys {
			_, err := js.Publish(t.Context(), "orders.c"+strconv.Itoa(k), []byte(strconv.Itoa(round)))
			ok(t, err)
		}
		if round == switchAt {
			// 1. The stream spreads over the new slots; what goes to them waits.
			cfg.SubjectTransform = to.Transform()
			_, err := js.UpdateStream(t.Context(), cfg)
			ok(t, err)
			info, err := stream.Info(t.Context())
			ok(t, err)
			doubled.Go(func() {
				// 2. What was spread over the old ones is completed.
				for {
					drained, err := from.Drained(t.Context(), stream, info.State.LastSeq)
					ok(t, err)
					if drained {
						break
					}
					time.Sleep(100 * time.Millisecond)
				}
				// 3. The new slots are consumed.
				src.Update(to.Partitions())
				ok(t, mgr.RefreshPartitions(t.Context()))
			})
		}
		time.Sleep(200 * time.Millisecond)
	}
	doubled.Wait()
	time.Sleep(2 * time.Minute)
	mu.Lock()
	defer mu.Unlock()
	for k := range keys {
		if n := done["c"+strconv.Itoa(k)]; n != rounds {
			t.Errorf("key %d: %d messages of %d", k, n, rounds)
		}
	}
}
