package parti

import (
	"errors"
	"io"
	"reflect"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"github.com/goccy/go-yaml"
)

func TestLoadConfig(t *testing.T) {
	cfg, err := LoadConfig(strings.NewReader(`
# Orders, Frankfurt.
workerIdPrefix: orders
workerIdMax: 63
workerIdTtl: "60s"          # quotes do no harm
heartbeatTtl: &long 9s
electionTimeout: *long
startupTimeout: |
  40s
shutdownTimeout: !!str &same 20s
handoffTimeout: *same
restartDetectionRatio: 3e-1
group: 007                  # a text, as it stands
app:
ownership: exclusive
refreshInterval: 0
assignment:
  minRebalanceThreshold: 1
kvBucket: {replicas: 3, storage: memory, assignmentTtl: 1h30m}
degradedAlert:
degradedBehavior:
  kvErrorThreshold: 0x10
`))
	if err != nil {
		t.Fatal(err)
	}
	want := DefaultConfig()
	want.WorkerIDPrefix = "orders"
	want.WorkerIDMax = 63
	want.WorkerIDTTL = time.Minute
	want.HeartbeatTTL = 9 * time.Second
	want.ElectionTimeout = 9 * time.Second
	want.StartupTimeout = 40 * time.Second
	want.ShutdownTimeout = 20 * time.Second
	want.HandoffTimeout = 20 * time.Second
	want.RestartDetectionRatio = 0.3
	want.Group = "007"
	want.Ownership = OwnershipExclusive
	want.Assignment.MinRebalanceThreshold = 1
	want.KVBucket.Replicas = 3
	want.KVBucket.Storage = StorageMemory
	want.KVBucket.AssignmentTTL = 90 * time.Minute
	want.DegradedBehavior.KVErrorThreshold = 16
	if !reflect.DeepEqual(*cfg, *want) {
		t.Errorf("got  %+v\nwant %+v", *cfg, *want)
	}
}

func TestLoadConfigOfNothingIsTheDefault(t *testing.T) {
	for _, text := range []string{"", "# nothing\n", "---\n", "null", "{}", "\ufeff", "%YAML 1.2\n---\n"} {
		cfg, err := LoadConfig(strings.NewReader(text))
		if err != nil {
			t.Errorf("%q: %v", text, err)
		} else if !reflect.DeepEqual(*cfg, *DefaultConfig()) {
			t.Errorf("%q: %+v", text, *cfg)
		}
	}
}

func TestLoadConfigRefuses(t *testing.T) {
	for name, tc := range map[string]struct{ text, want string }{
		"unknown field":           {"workerIdMax: 3\nworkers: 5", "workers (line 2): unknown field: want one of workerIdPrefix, workerIdMin, "},
		"unknown nested field":    {"kvBucket:\n  name: x", "kvBucket.name (line 2): unknown field: want one of stableIdBucket, electionBucket, "},
		"field of Go":             {"HeartbeatTTL: 6s", "HeartbeatTTL (line 1): unknown field: want heartbeatTtl"},
		"field with underscores":  {"degradedBehavior: {kv_error_threshold: 3}", "degradedBehavior.kv_error_threshold (line 1): unknown field: want kvErrorThreshold"},
		"no unexported field":     {"degradedAlert:\n  unknown: x", "degradedAlert.unknown (line 2): unknown field: want one of infoThreshold"},
		"empty field name":        {`"": 1`, " (line 1): unknown field"},
		"no name at all":          {`degradedAlert: {"-": 1}`, "degradedAlert.- (line 1): unknown field: want one of infoThreshold"},
		"reported once":           {"heartbeatInterval: 10s\nheartbeatTtl: 30", "heartbeatTtl (line 2): 30: want a duration"},
		"text for half":           {`restartDetectionRatio: "0.3"`, `restartDetectionRatio (line 1): "0.3": want a number`},
		"merge key":               {"<<: {workerIdMax: 3}", "<< (line 1): unknown field"},
		"explicit key":            {"? heartbeats\n: 6s", "heartbeats (line 1): unknown field"},
		"duration without a unit": {"\nheartbeatTtl: 6", "heartbeatTtl (line 2): 6: want a duration with its unit, such as 500ms, 30s or 1h30m"},
		"unknown unit":            {"heartbeatTtl: 6 seconds", "heartbeatTtl (line 1): 6 seconds: want a duration"},
		"duration of a mapping":   {"heartbeatTtl: {s: 6}", "heartbeatTtl (line 1): a mapping: want a duration"},
		"duration out of range":   {"heartbeatTtl: 9999999999h", "heartbeatTtl (line 1): 9999999999h: want a duration"},
		"negative duration":       {"handoffTimeout: -1s", "HandoffTimeout (handoffTimeout, line 1): -1s: want 1ms to"},
		"fraction for a number":   {"workerIdMax: 1.5", "workerIdMax (line 1): 1.5: want a whole number"},
		"text for a number":       {`workerIdMax: "63"`, `workerIdMax (line 1): "63": want a whole number`},
		"number out of range":     {"workerIdMax: 99999999999999999999", "workerIdMax (line 1): 99999999999999999999: want a whole number"},
		"text for a fraction":     {"restartDetectionRatio: half", "restartDetectionRatio (line 1): half: want a number"},
		"not a number":            {"restartDetectionRatio: .nan", "RestartDetectionRatio (restartDetectionRatio, line 1): NaN: want above 0"},
		"infinite":                {"assignment:\n  minRebalanceThreshold: .inf", "Assignment.MinRebalanceThreshold (assignment.minRebalanceThreshold, line 2): +Inf: want"},
		"list for labels":         {"labels: [a]", "labels (line 1): a sequence: want a mapping of texts"},
		"label of a list":         {"labels: {a: [b]}", "labels (line 1): a mapping: want a mapping of texts, each key once"},
		"text for capacity":       {"capacity: x", "capacity (line 1): x: want a number"},
		"list for a text":         {"group: [a]", "group (line 1): a sequence: want a text"},
		"list for a mapping":      {"kvBucket:\n- replicas: 3", "kvBucket (line 2): a sequence: want a mapping of stableIdBucket, "},
		"text for a mapping":      {"kvBucket: parti", "kvBucket (line 1): parti: want a mapping"},
		"text for all":            {"parti", "YAML (line 1): parti: want a mapping of workerIdPrefix, "},
		"alias to nothing":        {"group: *nobody", "group (line 1): an alias without a value: want a text"},
		"alias to nothing nested": {"kvBucket: *nobody", "kvBucket (line 1): an alias without a value: want a mapping"},
		"two documents":           {"workerIdMax: 3\n---\nworkerIdMax: 4", "YAML: another document in line 3: want a single document"},
		"the same field twice":    {"workerIdMax: 3\nworkerIdMax: 4", `YAML: want valid YAML: [2:1] mapping key "workerIdMax" already defined at [1:1]`},
		"no YAML":                 {"workerIdMax: 3\n workerIdMin: 4", "YAML: want valid YAML: [1:14]"},
		"deeply nested":           {strings.Repeat("[", 60_000), "YAML: more than 16 opening brackets, the last in line 1: want fewer"},
		"large":                   {strings.Repeat("# a comment\n", 6_000), "YAML: more than 64 KiB: want a configuration of parti"},
		"zero":                    {"degradedBehavior:\n  enterThreshold: 0s", "DegradedBehavior.EnterThreshold (degradedBehavior.enterThreshold, line 2): 0s: want 1ms to"},
		"no id":                   {"workerIdMax: 0", "WorkerIDMax (workerIdMax, line 1): 0: want 1 to 999999; left out it is 99"},
		"what Validate finds":     {"group: a\nkvBucket:\n  replicas: 7", "KVBucket.Replicas (kvBucket.replicas, line 3): 7: want 1 to 5"},
	} {
		t.Run(name, func(t *testing.T) {
			cfg, err := LoadConfig(strings.NewReader(tc.text))
			if !errors.Is(err, ErrInvalidConfig) {
				t.Fatalf("got %+v, %v", cfg, err)
			}
			if cfg != nil {
				t.Error("a configuration in spite of an error")
			}
			if !strings.Contains(err.Error(), tc.want) {
				t.Errorf("got:  %v\nwant: %s", err, tc.want)
			}
			if strings.Contains(err.Error(), "findings:") {
				t.Errorf("more than one finding: %v", err)
			}
		})
	}
}

func TestLoadConfigReportsAllAtOnce(t *testing.T) {
	_, err := LoadConfig(strings.NewReader(`workerIdMax: many
heartbeatTTL: 6s
heartbeatInterval: 10m
kvBucket:
  replicas: 0x9
  shards: 3
degradedAlert: off
`))
	const want = `parti: invalid configuration: 6 findings:
	workerIdMax (line 1): many: want a whole number
	heartbeatTTL (line 2): unknown field: want heartbeatTtl
	kvBucket.shards (line 6): unknown field: want one of stableIdBucket, electionBucket, heartbeatBucket, assignmentBucket, assignmentTtl, replicas, storage
	degradedAlert (line 7): off: want a mapping of infoThreshold, warnThreshold, errorThreshold, criticalThreshold, alertInterval
	HeartbeatTTL: 6s: want at least 15m0s with a HeartbeatInterval of 10m0s (1.5 times that, and 500ms more than that); 3 times is recommended
	KVBucket.Replicas (kvBucket.replicas, line 5): 9: want 1 to 5`
	if err == nil || err.Error() != want {
		t.Errorf("got:\n%v\nwant:\n%s", err, want)
	}
}

// A zero in a file is not taken for a field that is left out.
func TestLoadConfigRefusesZeros(t *testing.T) {
	meansNothing := 0
	for _, l := range leaves(t) {
		cfg := DefaultConfig()
		var zero string
		switch v := l.of(cfg); {
		case v.Type() == reflect.TypeFor[time.Duration]():
			zero = "0s"
		case v.CanInt() || v.CanFloat():
			zero = "0"
		default:
			continue
		}
		text := l.yaml + ": " + zero
		if section, field, ok := strings.Cut(l.yaml, "."); ok {
			text = section + ": {" + field + ": " + zero + "}"
		}
		got, err := LoadConfig(strings.NewReader(text))
		if l.of(cfg).IsZero() { // by default
			if err != nil || !l.of(got).IsZero() {
				t.Errorf("%s: %v", text, err)
			}
			continue
		}
		meansNothing++
		if fields := fieldsOf(t, err); len(fields) != 1 || fields[0] != l.path {
			t.Errorf("%s: %v", text, err)
		}
	}
	if meansNothing < 25 {
		t.Errorf("zero means nothing in only %d fields", meansNothing)
	}
}

func TestLoadConfigOfAFailingReader(t *testing.T) {
	cfg, err := LoadConfig(iotest.ErrReader(io.ErrUnexpectedEOF))
	if cfg != nil || !errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, ErrInvalidConfig) {
		t.Errorf("got %v, %v", cfg, err)
	}
	if !strings.Contains(err.Error(), "read configuration: ") {
		t.Errorf("got %v", err)
	}
}

func TestYAMLRoundTrip(t *testing.T) {
	cfg := DefaultConfig()
	for _, l := range leaves(t) {
		change(t, l.of(cfg))
	}
	cfg.RefreshInterval = 2*time.Minute + 500*time.Millisecond
	text, err := yaml.Marshal(cfg)
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(text), "refreshInterval: 2m0.5s\n") {
		t.Errorf("durations are not written as text:\n%s", text)
	}
	got, err := LoadConfig(strings.NewReader(string(text)))
	if err != nil {
		t.Fatalf("%v\n%s", err, text)
	}
	if !reflect.DeepEqual(*got, *cfg) {
		t.Errorf("got  %+v\nwant %+v\n%s", *got, *cfg, text)
	}
	defaults := DefaultConfig()
	for _, l := range leaves(t) {
		if reflect.DeepEqual(l.of(got).Interface(), l.of(defaults).Interface()) {
			t.Errorf("%s went missing", l.yaml)
		}
	}
}

func FuzzLoadConfig(f *testing.F) {
	f.Add("workerIdMax: 63\nheartbeatTtl: 6s\nkvBucket: {replicas: 3}\n")
	f.Add("group: &a x\napp: *a\n---\n")
	f.Add("? group\n: |\n  x\n!!map {a: !!str b}\n")
	f.Add("%YAML 1.2\n---\n<<: *a\n- [\"\\u00e9\", 'x', .nan, ~, 0o7]\n")
	f.Fuzz(func(t *testing.T, text string) {
		cfg, err := LoadConfig(strings.NewReader(text))
		if (cfg == nil) == (err == nil) {
			t.Fatalf("%v and %v", cfg, err)
		}
		if err != nil {
			if !errors.Is(err, ErrInvalidConfig) {
				t.Fatalf("not ErrInvalidConfig: %v", err)
			}
			return
		}
		if err := cfg.Validate(); err != nil {
			t.Fatalf("loaded and invalid: %v", err)
		}
		out, err := yaml.Marshal(cfg)
		if err != nil {
			t.Fatal(err)
		}
		again, err := LoadConfig(strings.NewReader(string(out)))
		if err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		if !reflect.DeepEqual(*again, *cfg) {
			t.Fatalf("%+v became %+v by way of\n%s", *cfg, *again, out)
		}
	})
}
