package parti_test

import (
	"context"
	"database/sql"
	"fmt"
	"log"
	"maps"
	"slices"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/arloliu/parti"
	"github.com/arloliu/parti/source"
	"github.com/arloliu/parti/strategy"
)

// show prints a result of three workers.
func show(result map[string][]parti.Partition, err error) {
	fmt.Println(len(result["a"]), len(result["b"]), len(result["c"]), err)
}

func ExampleAssignmentStrategy() {
	partitions, _ := examplePartitions(6).ListPartitions(context.Background())

	// snippet:consistent-hash
	consistent := strategy.NewConsistentHash(
		strategy.WithVirtualNodes(150), // more are more even, and cost memory
	)
	// snippet:end
	result, err := consistent.Assign([]string{"a"}, partitions)
	show(result, err)

	// snippet:round-robin
	robin := strategy.NewRoundRobin()
	// snippet:end
	show(robin.Assign([]string{"a", "b", "c"}, partitions))

	show(ByTenant{}.Assign([]string{"a", "b", "c"}, partitions))
	// Output:
	// 6 0 0 <nil>
	// 2 2 2 <nil>
	// 6 0 0 <nil>
}

// snippet:custom-strategy

// ByTenant keeps all partitions of a tenant, their first key, on one worker.
type ByTenant struct{}

func (ByTenant) Assign(workers []string, partitions []parti.Partition) (map[string][]parti.Partition, error) {
	// The same input must give the same result, in whatever order it comes.
	workers = slices.Sorted(slices.Values(workers))
	tenants := map[string][]parti.Partition{}
	for _, p := range partitions {
		tenants[p.Keys[0]] = append(tenants[p.Keys[0]], p)
	}
	result := make(map[string][]parti.Partition, len(workers))
	for i, tenant := range slices.Sorted(maps.Keys(tenants)) {
		w := workers[i%len(workers)]
		result[w] = append(result[w], tenants[tenant]...)
	}
	return result, nil
}

// snippet:end

func ExamplePartitionSource() {
	// snippet:static-source
	partitions := []parti.Partition{
		{Keys: []string{"topic1", "p0"}, Weight: 100},
		{Keys: []string{"topic1", "p1"}, Weight: 150},
		{Keys: []string{"topic2", "p0"}, Weight: 100},
	}
	src := source.NewStatic(partitions)
	// snippet:end
	list, err := src.ListPartitions(context.Background())
	fmt.Println(list, err)
	// Output: [topic1.p0 topic1.p1 topic2.p0] <nil>
}

func ExamplePartitionWatcher() {
	nc, js, stop := exampleNATS()
	defer stop()
	_ = nc
	ctx := context.Background()
	if _, err := js.CreateKeyValue(ctx, jetstream.KeyValueConfig{Bucket: "partitions"}); err != nil {
		log.Fatal(err)
	}

	// snippet:natskv-source
	kv, err := js.KeyValue(ctx, "partitions")
	if err != nil {
		log.Fatal(err)
	}
	src := source.NewNATSKV(kv, "orders") // every worker

	// Whoever knows the list, worker or not:
	_, err = source.PutNATSKV(ctx, kv, "orders", []parti.Partition{
		{Keys: []string{"orders", "0"}, Weight: 150},
		{Keys: []string{"orders", "1"}},
	})
	if err != nil {
		log.Fatal(err)
	}
	// snippet:end
	list, err := src.ListPartitions(ctx)
	fmt.Println(list, err)
	// Output: [orders.0 orders.1] <nil>
}

// snippet:sql-source

func TenantShards(db *sql.DB) parti.PartitionSource {
	return source.NewSQL(db, `SELECT tenant, shard, cost AS weight FROM shards WHERE active`)
}

// snippet:end

// snippet:custom-source

type DatabaseSource struct {
	db *sql.DB
}

func (s *DatabaseSource) ListPartitions(ctx context.Context) ([]parti.Partition, error) {
	rows, err := s.db.QueryContext(ctx, `
		SELECT tenant_id, shard_id, processing_weight
		FROM partitions
		WHERE active
		ORDER BY tenant_id, shard_id`)
	if err != nil {
		return nil, err
	}
	defer rows.Close()

	var partitions []parti.Partition
	for rows.Next() {
		var tenant, shard string
		var weight int64
		if err := rows.Scan(&tenant, &shard, &weight); err != nil {
			return nil, err
		}
		partitions = append(partitions, parti.Partition{
			Keys:   []string{tenant, shard},
			Weight: weight,
		})
	}
	return partitions, rows.Err()
}

// snippet:end

func ExampleManager_RefreshPartitions() {
	var (
		ctx context.Context
		mgr *parti.Manager
		db  *sql.DB
	)
	src := &DatabaseSource{db: db}

	// snippet:refresh-interval
	// The leader lists the partitions again every five minutes.
	cfg := &parti.Config{
		RefreshInterval: 5 * time.Minute,
	}
	// snippet:end

	// snippet:refresh-loop
	go func() {
		ticker := time.NewTicker(5 * time.Minute)
		defer ticker.Stop()
		for {
			select {
			case <-ticker.C:
				if err := mgr.RefreshPartitions(ctx); err != nil {
					log.Printf("refresh partitions: %v", err)
				}
			case <-mgr.Done():
				return
			}
		}
	}()
	// snippet:end
	_, _ = src, cfg
}

func ExamplePartition_keys() {
	// snippet:partitions
	partitions := []parti.Partition{
		// As in Kafka: a topic and a number.
		{Keys: []string{"orders", "0"}, Weight: 100},

		// Several levels: datacenter, service and shard.
		{Keys: []string{"us-west", "payment", "shard-1"}, Weight: 150},

		// A single name, and the default weight.
		{Keys: []string{"queue-a"}},
	}
	for _, p := range partitions {
		fmt.Println(p.ID())
	}
	// snippet:end

	// snippet:partition-escape
	a := parti.Partition{Keys: []string{"eu.west", "1"}}
	b := parti.Partition{Keys: []string{"eu", "west", "1"}}
	fmt.Println(a.ID(), b.ID())
	// snippet:end
	// Output:
	// orders.0
	// us-west.payment.shard-1
	// queue-a
	// eu%2Ewest.1 eu.west.1
}
