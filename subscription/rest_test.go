package subscription

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/arloliu/parti"
	partitest "github.com/arloliu/parti/testing"
)

// The first message of a partition, and with it the pin, is sent into a connection
// from which nothing arrives any more. The partition goes on when there is another
// connection, and not only when the pin has expired.
func TestPinIsLost(t *testing.T) {
	inWorld(t, jetstream.StreamConfig{}, func(t *testing.T, w *world) {
		link := w.srv.NewLink(t)
		h := w.helperOn(link.Connect(t, parti.NATSOptions()...), w.config(), w.plain)
		w.assign(h, part("a"))
		time.Sleep(20*time.Second + 300*time.Millisecond)
		link.Blackhole()
		w.publish(20, part("a"))                         // more than BatchSize: the pull is used up
		time.Sleep(9*time.Second + 500*time.Millisecond) // pings have found out
		link.Cut()
		time.Sleep(100 * time.Millisecond)
		link.Heal()
		began := time.Now()
		w.until(20)
		if took := time.Since(began); took > 15*time.Second {
			t.Errorf("the first message was completed %v after there was a connection again", took)
		}
		w.judge(0)
	})
}

// A request that the server has never had is sent again when it is missed, and not
// only when heartbeats are. Here the right to pull comes too late.
func TestPullIsLost(t *testing.T) {
	users := partitest.WithServerOptions(func(o *server.Options) {
		o.Users = []*server.User{{Username: "admin", Password: "a"}, {Username: "worker", Password: "w"}}
		o.Users[1].Permissions = &server.Permissions{Publish: &server.SubjectPermission{Deny: []string{"$JS.API.CONSUMER.MSG.NEXT.>"}}}
		o.NoAuthUser = "admin"
	})
	partitest.Bubble(t, func(t *testing.T, srv *partitest.Server) {
		w := newWorld(t, srv, jetstream.StreamConfig{})
		h := w.helperOn(w.srv.Connect(t, nats.UserInfo("worker", "w")), w.config(), w.plain)
		w.assign(h, part("a"))
		time.Sleep(time.Second)
		w.srv.Reload(func(o *server.Options) { o.Users[1].Permissions = &server.Permissions{} })
		w.publish(3, part("a"))
		began := time.Now()
		w.until(3)
		if took := time.Since(began); took > 10*time.Second {
			t.Errorf("the first message was completed %v after that was possible", took)
		}
		w.judge(0)
	}, users)
}

// An owner that was taken for dead, and wakes, gives nothing back: the durable is
// its successor's, whose acknowledgements a reset would make void.
func TestReplacedOwnerGivesNothingBack(t *testing.T) {
	inWorld(t, jetstream.StreamConfig{}, func(t *testing.T, w *world) {
		asleep, awake := make(chan struct{}), make(chan struct{})
		old := w.helper(w.config(), func(context.Context, jetstream.Msg) error {
			close(asleep)
			<-awake
			return errors.New("the store knows a newer token")
		})
		halfway, goOn := make(chan struct{}), make(chan struct{})
		next := w.helper(w.config(), func(ctx context.Context, msg jetstream.Msg) error {
			if _, n := number(msg); n == 10 {
				close(halfway)
				<-goOn
			}
			return w.plain(ctx, msg)
		})
		w.publish(40, part("a"))
		w.assign(old, part("a"))
		<-asleep
		w.assign(next, part("a"))
		<-halfway
		before := w.count(ErrDeliveryGap) // one went to a request that the old one left behind
		close(awake)
		w.assign(old)
		close(goOn)
		w.until(40)
		settle()
		if n := w.count(ErrDeliveryGap); n > before {
			t.Error("the durable was reset under its owner")
		}
		w.judge(0)
	})
}
