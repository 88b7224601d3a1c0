package subscription_test

import (
	"fmt"
	"strconv"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/arloliu/parti/source"
	"github.com/arloliu/parti/subscription"
)

// 100,000 customers share 256 slots. All orders of one customer are in one slot,
// and so are completed in their order.
func ExampleNewSlots() {
	slots, err := subscription.NewSlots("orders.*", 256)
	if err != nil {
		fmt.Println(err)
		return
	}
	stream := jetstream.StreamConfig{ // for js.CreateStream
		Name:             "ORDERS",
		Subjects:         slots.Subjects(),
		SubjectTransform: slots.Transform(),
		MaxConsumers:     1000,
	}
	helper := subscription.DurableConfig{ // for NewDurableHelper
		StreamName:      "ORDERS",
		ConsumerPrefix:  "order",
		SubjectTemplate: slots.Template(),
	}
	src := source.NewStatic(slots.Partitions()) // for NewManager

	var size [256]int
	for i := range 100_000 {
		size[slots.Of("customer-"+strconv.Itoa(i))]++
	}
	least, most := size[0], size[0]
	for _, n := range size {
		least, most = min(least, n), max(most, n)
	}
	fmt.Println(stream.SubjectTransform.Source, "to", stream.SubjectTransform.Destination)
	fmt.Println(helper.SubjectTemplate, src != nil)
	fmt.Printf("%d to %d customers in a slot\n", least, most)
	// Output:
	// orders.* to orders.{{partition(256,1)}}.{{wildcard(1)}}
	// orders.{{.PartitionID}}.* true
	// 349 to 432 customers in a slot
}
