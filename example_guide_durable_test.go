package parti_test

import (
	"context"
	"errors"
	"fmt"
	"log"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/arloliu/parti"
	"github.com/arloliu/parti/subscription"
)

// snippet:durable-helper

func durable(nc *nats.Conn, cfg *parti.Config, src parti.PartitionSource, strategy parti.AssignmentStrategy) (*parti.Manager, error) {
	helper, err := subscription.NewDurableHelper(nc, subscription.DurableConfig{
		StreamName:      "work-stream",
		ConsumerPrefix:  "worker",
		SubjectTemplate: "work.{{.PartitionID}}", // PartitionID = keys joined with '.'
		BatchSize:       50,
	}, subscription.MessageHandlerFunc(func(ctx context.Context, msg jetstream.Msg) error {
		log.Printf("%s: %d bytes", msg.Subject(), len(msg.Data()))
		return msg.Ack()
	}))
	if err != nil {
		return nil, err
	}
	js, err := jetstream.New(nc)
	if err != nil {
		return nil, err
	}
	return parti.NewManager(cfg, js, src, strategy, parti.WithWorkerConsumerUpdater(helper))
}

// snippet:end

// What it does is shown by the example of package subscription; this one shows
// that it is refused without a connection.
func Example_durableHelper() {
	_, err := durable(nil, &parti.Config{}, nil, nil)
	fmt.Println(errors.Is(err, subscription.ErrInvalidConfig))
	// Output: true
}
