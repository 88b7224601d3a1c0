package parti

import (
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

const (
	// minDuration refuses what is most often a forgotten unit: in Go, a plain
	// 5 is five nanoseconds.
	minDuration = time.Millisecond
	// maxDuration keeps sums and multiples of durations far from overflow.
	maxDuration = 365 * 24 * time.Hour
	// minHeartbeatSlack is what HeartbeatTTL must have above HeartbeatInterval.
	// A holder trusts its lease for the TTL less max(TTL/10, 250 ms); what then
	// remains must cover the interval to the next renewal and the renewal.
	minHeartbeatSlack = 500 * time.Millisecond

	maxWorkerID   = 999_999
	maxTokenLen   = 64
	maxAppLen     = 128
	maxCapacity   = 1e6
	maxLabels     = 16
	maxLabelKey   = 64
	maxLabelValue = 128
	maxBucketName = 252 // NATS allows 255 for the stream, which is "KV_" more
)

// Validate reports everything that is wrong with the configuration, as
// NewManager does: with the defaults for zero fields, which it fills on a copy.
// The error matches [ErrInvalidConfig] and names each invalid field as in Go
// ("DegradedAlert.WarnThreshold") with its value and what is allowed.
func (cfg *Config) Validate() error {
	if cfg == nil {
		return &configError{findings: []finding{{field: "Config", value: "nil", want: "a *Config: DefaultConfig returns one"}}}
	}
	filled := *cfg
	SetDefaults(&filled)
	return filled.check()
}

// check judges a configuration whose defaults are filled.
func (cfg *Config) check() error {
	var c checker
	c.identity(cfg)
	c.durations(cfg)
	c.timing(cfg)
	c.assignment(cfg)
	c.buckets(&cfg.KVBucket)
	c.degraded(cfg)
	if c.findings == nil {
		return nil
	}
	return &configError{findings: c.findings}
}

// checker collects findings.
type checker struct{ findings []finding }

func (c *checker) identity(cfg *Config) {
	c.token("WorkerIDPrefix", cfg.WorkerIDPrefix, maxTokenLen)
	if cfg.Group != "" {
		c.token("Group", cfg.Group, maxTokenLen)
	}
	if a := cfg.App; len(a) > maxAppLen || !printable(a) {
		c.refuse("App", a, "at most %d bytes of UTF-8 without control characters", maxAppLen)
	}
	lo, hi := cfg.WorkerIDMin, cfg.WorkerIDMax
	loOK, hiOK := lo >= 0 && lo <= maxWorkerID, hi >= 0 && hi <= maxWorkerID
	if !loOK {
		c.refuse("WorkerIDMin", lo, "0 to %d", maxWorkerID)
	}
	switch {
	case hi == 0: // from a file: defaults are filled
		c.refuse("WorkerIDMax", hi, "1 to %d; left out it is 99", maxWorkerID)
	case !hiOK:
		c.refuse("WorkerIDMax", hi, "0 to %d", maxWorkerID)
	case loOK && hi < lo:
		c.refuse("WorkerIDMax", hi, "at least WorkerIDMin, which is %d (a zero WorkerIDMax counts as 99)", lo)
	}
	if o := cfg.Ownership; o != OwnershipAvailable && o != OwnershipExclusive {
		c.refuse("Ownership", o, "%q or %q", OwnershipAvailable, OwnershipExclusive)
	}
}

// durations checks that each duration by itself makes sense.
func (c *checker) durations(cfg *Config) {
	b, a := &cfg.DegradedBehavior, &cfg.DegradedAlert
	for _, d := range []struct {
		field string
		value time.Duration
	}{
		{"WorkerIDTTL", cfg.WorkerIDTTL},
		{"HeartbeatInterval", cfg.HeartbeatInterval},
		{"HeartbeatTTL", cfg.HeartbeatTTL},
		{"ColdStartWindow", cfg.ColdStartWindow},
		{"ColdStartSettle", cfg.ColdStartSettle},
		{"PlannedScaleWindow", cfg.PlannedScaleWindow},
		{"EmergencyGracePeriod", cfg.EmergencyGracePeriod},
		{"OperationTimeout", cfg.OperationTimeout},
		{"ElectionTimeout", cfg.ElectionTimeout},
		{"StartupTimeout", cfg.StartupTimeout},
		{"ShutdownTimeout", cfg.ShutdownTimeout},
		{"HandoffTimeout", cfg.HandoffTimeout},
		{"Assignment.MinRebalanceInterval", cfg.Assignment.MinRebalanceInterval},
		{"KVBucket.AssignmentTTL", cfg.KVBucket.AssignmentTTL},
		{"DegradedBehavior.EnterThreshold", b.EnterThreshold},
		{"DegradedBehavior.ExitThreshold", b.ExitThreshold},
		{"DegradedBehavior.KVErrorWindow", b.KVErrorWindow},
		{"DegradedBehavior.RecoveryGracePeriod", b.RecoveryGracePeriod},
		{"DegradedAlert.InfoThreshold", a.InfoThreshold},
		{"DegradedAlert.WarnThreshold", a.WarnThreshold},
		{"DegradedAlert.ErrorThreshold", a.ErrorThreshold},
		{"DegradedAlert.CriticalThreshold", a.CriticalThreshold},
		{"DegradedAlert.AlertInterval", a.AlertInterval},
	} {
		if !sane(d.value) {
			c.refuse(d.field, d.value, "%v to %v", minDuration, maxDuration)
		}
	}
	if r := cfg.RefreshInterval; r != 0 && !sane(r) {
		c.refuse("RefreshInterval", r, "%v to %v, or 0 for never", minDuration, maxDuration)
	}
}

// timing checks durations against each other. A duration that is not sane by
// itself is reported already and not compared.
func (c *checker) timing(cfg *Config) {
	interval, ttl := cfg.HeartbeatInterval, cfg.HeartbeatTTL
	if sane(interval) && sane(ttl) {
		if least := max(interval+interval/2, interval+minHeartbeatSlack); ttl < least {
			c.refuse("HeartbeatTTL", ttl, "at least %v with a HeartbeatInterval of %v (1.5 times that, and %v more than that); 3 times is recommended",
				least, interval, minHeartbeatSlack)
		}
	}
	if sane(cfg.WorkerIDTTL) && sane(ttl) && cfg.WorkerIDTTL < ttl {
		c.refuse("WorkerIDTTL", cfg.WorkerIDTTL, "at least HeartbeatTTL, which is %v", ttl)
	}
}

func (c *checker) assignment(cfg *Config) {
	if r := cfg.RestartDetectionRatio; !(r > 0 && r <= 1) {
		c.refuse("RestartDetectionRatio", r, "above 0, at most 1")
	}
	if t := cfg.Assignment.MinRebalanceThreshold; !(t > 0) || math.IsInf(t, 1) {
		c.refuse("Assignment.MinRebalanceThreshold", t, "a number above 0, such as 0.15 for 15 %%")
	}
	if n := cfg.Assignment.MaxMovesPerPlan; n < 0 {
		c.refuse("Assignment.MaxMovesPerPlan", n, "at least 1, or 0 for no limit")
	}
	if s := cfg.capacity(); !(s >= 0 && s <= maxCapacity) {
		c.refuse("Capacity", s, "0 to %v; 1 is the usual share", float64(maxCapacity))
	}
	if n := len(cfg.Labels); n > maxLabels {
		c.refuse("Labels", fmt.Sprintf("%d of them", n), "at most %d", maxLabels)
	}
	for _, k := range slices.Sorted(maps.Keys(cfg.Labels)) {
		if v := cfg.Labels[k]; k == "" || len(k) > maxLabelKey || len(v) > maxLabelValue || !printable(k) || !printable(v) {
			c.refuse("Labels", fmt.Sprintf("%q: %q", k, v), "a key of 1 to %d and a value of at most %d bytes without control characters", maxLabelKey, maxLabelValue)
		}
	}
}

func (c *checker) buckets(b *KVBucketConfig) {
	users := make(map[string]string, 4) // of each name
	for _, n := range []struct{ field, value string }{
		{"KVBucket.StableIDBucket", b.StableIDBucket},
		{"KVBucket.ElectionBucket", b.ElectionBucket},
		{"KVBucket.HeartbeatBucket", b.HeartbeatBucket},
		{"KVBucket.AssignmentBucket", b.AssignmentBucket},
	} {
		c.token(n.field, n.value, maxBucketName)
		if other, taken := users[n.value]; taken {
			c.refuse(n.field, n.value, "a name of its own: %s has the same", other)
			continue
		}
		users[n.value] = n.field
	}
	if b.Replicas < 1 || b.Replicas > 5 {
		c.refuse("KVBucket.Replicas", b.Replicas, "1 to 5")
	}
	if b.Storage != StorageFile && b.Storage != StorageMemory {
		c.refuse("KVBucket.Storage", b.Storage, "%q or %q", StorageFile, StorageMemory)
	}
}

func (c *checker) degraded(cfg *Config) {
	b, a := &cfg.DegradedBehavior, &cfg.DegradedAlert
	if b.KVErrorThreshold < 1 {
		c.refuse("DegradedBehavior.KVErrorThreshold", b.KVErrorThreshold, "at least 1")
	}
	if b.unknown != "" {
		c.add("DegradedBehavior", "preset "+b.unknown, "one of "+presetNames(behaviorPresets))
	}
	if a.unknown != "" {
		c.add("DegradedAlert", "preset "+a.unknown, "one of "+presetNames(alertPresets))
	}
	c.rising([]threshold{
		{"InfoThreshold", a.InfoThreshold},
		{"WarnThreshold", a.WarnThreshold},
		{"ErrorThreshold", a.ErrorThreshold},
		{"CriticalThreshold", a.CriticalThreshold},
	})
}

type threshold struct {
	field string
	value time.Duration
}

// rising checks that the thresholds of alerts rise. It keeps as many of them as do,
// the earlier ones if there is a choice, and refuses the others, beside the nearest
// that is kept. One that is not sane by itself is reported already.
func (c *checker) rising(all []threshold) {
	all = slices.DeleteFunc(all, func(t threshold) bool { return !sane(t.value) })
	var kept []int
	for set := range 1 << len(all) { // ends with the sets that have the first ones
		var some []int
		for i := range all {
			if set&(1<<(len(all)-1-i)) == 0 {
				continue
			}
			if n := len(some); n > 0 && all[i].value <= all[some[n-1]].value {
				some = nil
				break
			}
			some = append(some, i)
		}
		if len(some) >= len(kept) {
			kept = some
		}
	}
	for i, t := range all {
		at, found := slices.BinarySearch(kept, i)
		if found {
			continue
		}
		if at > 0 && t.value <= all[kept[at-1]].value {
			c.refuse("DegradedAlert."+t.field, t.value, "more than %s, which is %v", all[kept[at-1]].field, all[kept[at-1]].value)
		} else {
			c.refuse("DegradedAlert."+t.field, t.value, "less than %s, which is %v", all[kept[at]].field, all[kept[at]].value)
		}
	}
}

func printable(s string) bool {
	return utf8.ValidString(s) && !strings.ContainsFunc(s, unicode.IsControl)
}

// token checks a name that becomes part of subjects, keys and stream names.
func (c *checker) token(field, value string, longest int) {
	ok := value != "" && len(value) <= longest
	for i := 0; ok && i < len(value); i++ {
		ok = isTokenByte(value[i])
	}
	if !ok {
		c.refuse(field, value, "1 to %d letters (a-z, A-Z), digits, '-' and '_'", longest)
	}
}

func isTokenByte(b byte) bool {
	return 'a' <= b && b <= 'z' || 'A' <= b && b <= 'Z' || '0' <= b && b <= '9' || b == '-' || b == '_'
}

// sane reports whether a duration is within the limits for all of them.
func sane(d time.Duration) bool { return d >= minDuration && d <= maxDuration }

// refuse adds a finding about a field, its value and what is allowed.
func (c *checker) refuse(field string, value any, format string, args ...any) {
	text := fmt.Sprint(value)
	switch v := value.(type) {
	case string:
		text = quoteShort(v)
	case Ownership:
		text = quoteShort(string(v))
	case Storage:
		text = quoteShort(string(v))
	}
	c.add(field, text, fmt.Sprintf(format, args...))
}

func (c *checker) add(field, value, want string) {
	c.findings = append(c.findings, finding{field: field, value: value, want: want})
}

// quoteShort quotes text for an error, which a long one would flood.
func quoteShort(s string) string {
	const most = 80
	if len(s) > most {
		return fmt.Sprintf("%q… (%d bytes)", s[:most], len(s))
	}
	return fmt.Sprintf("%q", s)
}

// finding is one thing that is wrong with a configuration.
type finding struct {
	field string // as in Go, with the structs it is in
	value string
	want  string // what is allowed
	where string // in a file, "" elsewhere
}

func (f finding) String() string {
	s := f.field
	if f.where != "" {
		s += " (" + f.where + ")"
	}
	if f.value != "" {
		s += ": " + f.value
	}
	return s + ": want " + f.want
}

// configError is an ErrInvalidConfig with all that was found.
type configError struct{ findings []finding }

// Error has one line for each finding.
func (e *configError) Error() string {
	var b strings.Builder
	b.WriteString(ErrInvalidConfig.Error())
	if len(e.findings) == 1 {
		return b.String() + ": " + e.findings[0].String()
	}
	fmt.Fprintf(&b, ": %d findings:", len(e.findings))
	for _, f := range e.findings {
		b.WriteString("\n\t" + f.String())
	}
	return b.String()
}

func (e *configError) Is(target error) bool { return target == ErrInvalidConfig }

// warnings tells what is allowed and yet likely to hurt, for the manager to log.
// The defaults must be filled.
func (cfg *Config) warnings() []string {
	var w []string
	if cfg.HeartbeatTTL < 2*cfg.HeartbeatInterval {
		w = append(w, fmt.Sprintf("HeartbeatTTL %v is less than twice HeartbeatInterval %v: one late heartbeat looks like a death; use three times",
			cfg.HeartbeatTTL, cfg.HeartbeatInterval))
	}
	if cfg.Ownership == OwnershipExclusive && cfg.KVBucket.Replicas >= 3 && cfg.HeartbeatTTL < 12*time.Second {
		w = append(w, fmt.Sprintf("HeartbeatTTL %v is short for Ownership exclusive on replicated buckets: "+
			"they refuse writes for some seconds when a server fails, and leases end meanwhile; use 15s or more", cfg.HeartbeatTTL))
	}
	if cfg.DegradedBehavior.RecoveryGracePeriod < cfg.HeartbeatTTL {
		w = append(w, fmt.Sprintf("DegradedBehavior.RecoveryGracePeriod %v is shorter than HeartbeatTTL %v: "+
			"after an outage workers may be taken for dead before they reconnect; use more than HeartbeatTTL",
			cfg.DegradedBehavior.RecoveryGracePeriod, cfg.HeartbeatTTL))
	}
	return w
}
