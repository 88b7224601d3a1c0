package parti_test

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/arloliu/parti"
)

func ExampleDefaultConfig() {
	cfg := parti.DefaultConfig()
	cfg.WorkerIDPrefix = "orders"
	cfg.PlannedScaleWindow = 20 * time.Second
	fmt.Println(cfg.Validate())
	// Output: <nil>
}

func ExampleConfig_Validate_findings() {
	cfg := &parti.Config{
		WorkerIDPrefix:    "my worker",
		HeartbeatInterval: 5, // nanoseconds: the unit was forgotten
		DegradedAlert:     parti.DegradedAlertPreset("quiet"),
	}
	err := cfg.Validate()
	fmt.Println(errors.Is(err, parti.ErrInvalidConfig))
	fmt.Println(err)
	// Output:
	// true
	// parti: invalid configuration: 3 findings:
	// 	WorkerIDPrefix: "my worker": want 1 to 64 letters (a-z, A-Z), digits, '-' and '_'
	// 	HeartbeatInterval: 5ns: want 1ms to 8760h0m0s
	// 	DegradedAlert: preset "quiet": want one of aggressive, balanced, conservative
}

// Everything that is wrong is reported at once.
func ExampleLoadConfig_invalid() {
	_, err := parti.LoadConfig(strings.NewReader(`
workerIdMax: 199
heartbeatTTL: 6s
coldStartWindow: 30
kvBucket:
  replicas: 7
`))
	fmt.Println(err)
	// Output:
	// parti: invalid configuration: 3 findings:
	// 	heartbeatTTL (line 3): unknown field: want heartbeatTtl
	// 	coldStartWindow (line 4): 30: want a duration with its unit, such as 500ms, 30s or 1h30m
	// 	KVBucket.Replicas (kvBucket.replicas, line 6): 7: want 1 to 5
}

func ExamplePartition_ID() {
	fmt.Println(parti.Partition{Keys: []string{"orders", "0"}, Weight: 100}.ID())
	fmt.Println(parti.Partition{Keys: []string{"us-west", "payment", "shard-1"}, Weight: 150}.ID())
	fmt.Println(parti.Partition{Keys: []string{"file", "go.mod"}}.ID())
	// Output:
	// orders.0
	// us-west.payment.shard-1
	// file.go%2Emod
}
