package parti

import (
	"errors"
	"fmt"
	"math"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"
)

// As printed in the guide, without SetDefaults.
func guideDevelopment() *Config {
	cfg := &Config{
		WorkerIDPrefix:     "dev-worker",
		WorkerIDMin:        0,
		WorkerIDMax:        2,
		WorkerIDTTL:        10 * time.Second,
		HeartbeatInterval:  1 * time.Second,
		HeartbeatTTL:       3 * time.Second,
		ColdStartWindow:    5 * time.Second,
		PlannedScaleWindow: 2 * time.Second,
		OperationTimeout:   5 * time.Second,
		ElectionTimeout:    3 * time.Second,
		StartupTimeout:     15 * time.Second,
		ShutdownTimeout:    5 * time.Second,
	}
	cfg.Assignment.MinRebalanceThreshold = 0.1
	cfg.Assignment.MinRebalanceInterval = 2 * time.Second
	return cfg
}

func guideProduction() *Config {
	cfg := &Config{
		WorkerIDPrefix:     "worker",
		WorkerIDMin:        0,
		WorkerIDMax:        199,
		WorkerIDTTL:        30 * time.Second,
		HeartbeatInterval:  2 * time.Second,
		HeartbeatTTL:       6 * time.Second,
		ColdStartWindow:    30 * time.Second,
		PlannedScaleWindow: 10 * time.Second,
		OperationTimeout:   10 * time.Second,
		ElectionTimeout:    5 * time.Second,
		StartupTimeout:     30 * time.Second,
		ShutdownTimeout:    10 * time.Second,
	}
	cfg.Assignment.MinRebalanceThreshold = 0.15
	cfg.Assignment.MinRebalanceInterval = 10 * time.Second
	return cfg
}

func TestGuideConfigurationsAreValid(t *testing.T) {
	for name, cfg := range map[string]*Config{
		"development": guideDevelopment(),
		"production":  guideProduction(),
		"quick start": {WorkerIDPrefix: "worker", WorkerIDMin: 0, WorkerIDMax: 63, HeartbeatInterval: 2 * time.Second, HeartbeatTTL: 6 * time.Second},
		"defaults":    {WorkerIDPrefix: "worker", WorkerIDMax: 63},
		"kubernetes":  {WorkerIDMax: 63},
		"zero":        {},
	} {
		before := *cfg
		if err := cfg.Validate(); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if !reflect.DeepEqual(*cfg, before) {
			t.Errorf("%s: Validate changed the configuration", name)
		}
		SetDefaults(cfg)
		if w := cfg.warnings(); w != nil {
			t.Errorf("%s: %q", name, w)
		}
	}
}

func TestValidate(t *testing.T) {
	long := strings.Repeat("x", 300)
	for name, tc := range map[string]struct {
		change func(*Config)
		want   string // "" when valid
	}{
		"prefix with a dot":      {func(c *Config) { c.WorkerIDPrefix = "a.b" }, `WorkerIDPrefix: "a.b": want 1 to 64 letters (a-z, A-Z), digits, '-' and '_'`},
		"prefix not ASCII":       {func(c *Config) { c.WorkerIDPrefix = "wörker" }, `WorkerIDPrefix: "wörker"`},
		"longest prefix":         {func(c *Config) { c.WorkerIDPrefix = long[:64] }, ""},
		"prefix too long":        {func(c *Config) { c.WorkerIDPrefix = long[:65] }, "WorkerIDPrefix: "},
		"every letter":           {func(c *Config) { c.Group = "azAZ09-_" }, ""},
		"group with a wildcard":  {func(c *Config) { c.Group = ">" }, `Group: ">": want 1 to 64`},
		"group with a space":     {func(c *Config) { c.Group = "a b" }, `Group: "a b"`},
		"group too long":         {func(c *Config) { c.Group = long }, `x"… (300 bytes): want`},
		"app of any text":        {func(c *Config) { c.App = "Bestellungen für Köln. v2" }, ""},
		"app too long":           {func(c *Config) { c.App = long[:129] }, "App: "},
		"app not UTF-8":          {func(c *Config) { c.App = "\xff" }, `App: "\xff"`},
		"negative min":           {func(c *Config) { c.WorkerIDMin = -1 }, "WorkerIDMin: -1: want 0 to 999999"},
		"min too large":          {func(c *Config) { c.WorkerIDMin, c.WorkerIDMax = 1_000_000, 999_999 }, "WorkerIDMin: 1000000"},
		"negative max":           {func(c *Config) { c.WorkerIDMax = -1 }, "WorkerIDMax: -1: want 0 to 999999"},
		"max too large":          {func(c *Config) { c.WorkerIDMax = math.MaxInt }, "WorkerIDMax: "},
		"max below min":          {func(c *Config) { c.WorkerIDMin, c.WorkerIDMax = 5, 4 }, "WorkerIDMax: 4: want at least WorkerIDMin, which is 5"},
		"one id":                 {func(c *Config) { c.WorkerIDMin, c.WorkerIDMax = 7, 7 }, ""},
		"min below default max":  {func(c *Config) { c.WorkerIDMin, c.WorkerIDMax = 99, 0 }, ""},
		"min above default max":  {func(c *Config) { c.WorkerIDMin, c.WorkerIDMax = 100, 0 }, "WorkerIDMax: 99: want at least WorkerIDMin, which is 100 (a zero WorkerIDMax counts as 99)"},
		"negative duration":      {func(c *Config) { c.HandoffTimeout = -time.Second }, "HandoffTimeout: -1s: want 1ms to 8760h0m0s"},
		"negative heartbeat TTL": {func(c *Config) { c.HeartbeatTTL = -1 }, "HeartbeatTTL: -1ns: want 1ms to"},
		"negative id TTL":        {func(c *Config) { c.WorkerIDTTL = -1 }, "WorkerIDTTL: -1ns: want 1ms to"},
		"negative alert":         {func(c *Config) { c.DegradedAlert.ErrorThreshold = -1 }, "DegradedAlert.ErrorThreshold: -1ns: want 1ms to"},
		"forgotten unit":         {func(c *Config) { c.OperationTimeout = 5 }, "OperationTimeout: 5ns: want 1ms to"},
		"endless duration":       {func(c *Config) { c.DegradedAlert.CriticalThreshold = math.MaxInt64 }, "DegradedAlert.CriticalThreshold: 2562047h"},
		"a year":                 {func(c *Config) { c.DegradedAlert.CriticalThreshold = 365 * 24 * time.Hour }, ""},
		"no settling":            {func(c *Config) { c.ColdStartSettle = time.Hour }, ""},
		"refresh off":            {func(c *Config) { c.RefreshInterval = 0 }, ""},
		"refresh":                {func(c *Config) { c.RefreshInterval = time.Minute }, ""},
		"negative refresh":       {func(c *Config) { c.RefreshInterval = -1 }, "RefreshInterval: -1ns: want 1ms to 8760h0m0s, or 0 for never"},
		"TTL equals interval":    {func(c *Config) { c.HeartbeatTTL = 2 * time.Second }, "HeartbeatTTL: 2s: want at least 3s with a HeartbeatInterval of 2s"},
		"TTL below interval":     {func(c *Config) { c.HeartbeatTTL = time.Second }, "HeartbeatTTL: 1s: want at least 3s"},
		"TTL of 1.5 intervals":   {func(c *Config) { c.HeartbeatTTL = 3 * time.Second }, ""},
		"TTL of a bit less":      {func(c *Config) { c.HeartbeatTTL = 3*time.Second - 1 }, "HeartbeatTTL: 2.999999999s"},
		"fast heartbeats":        {func(c *Config) { c.HeartbeatInterval, c.HeartbeatTTL = 100*time.Millisecond, 600*time.Millisecond }, ""},
		"too fast heartbeats":    {func(c *Config) { c.HeartbeatInterval, c.HeartbeatTTL = 100*time.Millisecond, 300*time.Millisecond }, "HeartbeatTTL: 300ms: want at least 600ms"},
		"id TTL equals TTL":      {func(c *Config) { c.WorkerIDTTL = 6 * time.Second }, ""},
		"id TTL below TTL":       {func(c *Config) { c.WorkerIDTTL = 5 * time.Second }, "WorkerIDTTL: 5s: want at least HeartbeatTTL, which is 6s"},
		"ratio of 1":             {func(c *Config) { c.RestartDetectionRatio = 1 }, ""},
		"ratio above 1":          {func(c *Config) { c.RestartDetectionRatio = 1.01 }, "RestartDetectionRatio: 1.01: want above 0, at most 1"},
		"negative ratio":         {func(c *Config) { c.RestartDetectionRatio = -0.5 }, "RestartDetectionRatio: -0.5"},
		"ratio NaN":              {func(c *Config) { c.RestartDetectionRatio = math.NaN() }, "RestartDetectionRatio: NaN"},
		"threshold NaN":          {func(c *Config) { c.Assignment.MinRebalanceThreshold = math.NaN() }, "Assignment.MinRebalanceThreshold: NaN: want a number above 0, such as 0.15 for 15 %"},
		"threshold infinite":     {func(c *Config) { c.Assignment.MinRebalanceThreshold = math.Inf(1) }, "Assignment.MinRebalanceThreshold: +Inf"},
		"threshold negative":     {func(c *Config) { c.Assignment.MinRebalanceThreshold = -0.1 }, "Assignment.MinRebalanceThreshold: -0.1"},
		"threshold above 1":      {func(c *Config) { c.Assignment.MinRebalanceThreshold = 2.5 }, ""},
		"ownership":              {func(c *Config) { c.Ownership = "Exclusive" }, `Ownership: "Exclusive": want "available" or "exclusive"`},
		"storage":                {func(c *Config) { c.KVBucket.Storage = "disk" }, `KVBucket.Storage: "disk": want "file" or "memory"`},
		"replicas":               {func(c *Config) { c.KVBucket.Replicas = 6 }, "KVBucket.Replicas: 6: want 1 to 5"},
		"five replicas":          {func(c *Config) { c.KVBucket.Replicas = 5 }, ""},
		"bucket name":            {func(c *Config) { c.KVBucket.HeartbeatBucket = "a/b" }, `KVBucket.HeartbeatBucket: "a/b": want 1 to 252 letters`},
		"longest bucket name":    {func(c *Config) { c.KVBucket.HeartbeatBucket = long[:252] }, ""},
		"bucket name too long":   {func(c *Config) { c.KVBucket.HeartbeatBucket = long[:253] }, "KVBucket.HeartbeatBucket: "},
		"one bucket for two":     {func(c *Config) { c.KVBucket.AssignmentBucket = "parti-election" }, `KVBucket.AssignmentBucket: "parti-election": want a name of its own: KVBucket.ElectionBucket has the same`},
		"alerts that fall":       {func(c *Config) { c.DegradedAlert.WarnThreshold = 30 * time.Second }, "DegradedAlert.WarnThreshold: 30s: want more than InfoThreshold, which is 1m0s"},
		"alerts that stay":       {func(c *Config) { c.DegradedAlert.ErrorThreshold = 5 * time.Minute }, "DegradedAlert.ErrorThreshold: 5m0s: want more than WarnThreshold, which is 5m0s"},
		"critical before error":  {func(c *Config) { c.DegradedAlert.CriticalThreshold = time.Minute }, "DegradedAlert.CriticalThreshold: 1m0s: want more than ErrorThreshold, which is 15m0s"},
		"only a late info":       {func(c *Config) { c.DegradedAlert = DegradedAlertConfig{InfoThreshold: time.Hour} }, "DegradedAlert.InfoThreshold: 1h0m0s: want less than WarnThreshold, which is 5m0s"},
		"only a late warning":    {func(c *Config) { c.DegradedAlert.WarnThreshold = time.Hour }, "DegradedAlert.WarnThreshold: 1h0m0s: want less than ErrorThreshold, which is 15m0s"},
		"error threshold":        {func(c *Config) { c.DegradedBehavior.KVErrorThreshold = -1 }, "DegradedBehavior.KVErrorThreshold: -1: want at least 1"},
		"error threshold of one": {func(c *Config) { c.DegradedBehavior.KVErrorThreshold = 1 }, ""},
	} {
		t.Run(name, func(t *testing.T) {
			cfg := DefaultConfig()
			tc.change(cfg)
			err := cfg.Validate()
			switch {
			case tc.want == "" && err != nil:
				t.Errorf("refused: %v", err)
			case tc.want != "" && err == nil:
				t.Error("accepted")
			case tc.want != "":
				if got := fieldsOf(t, err); len(got) != 1 {
					t.Errorf("%d findings instead of 1: %v", len(got), err)
				}
				if !strings.Contains(err.Error(), tc.want) {
					t.Errorf("got:  %v\nwant: %s", err, tc.want)
				}
			}
		})
	}
}

// Thresholds are compared with all others, and blamed are as few as possible.
func TestValidateThresholds(t *testing.T) {
	const info, warn, fault, critical = "DegradedAlert.InfoThreshold", "DegradedAlert.WarnThreshold", "DegradedAlert.ErrorThreshold", "DegradedAlert.CriticalThreshold"
	for minutes, want := range map[[4]time.Duration][]string{
		{1, 5, 15, 30}:   nil,
		{60, -1, 30, 40}: {warn, info},
		{60, -1, 30, -1}: {warn, critical, fault}, // no more than info
		{40, 50, 10, 20}: {fault, critical},
		{40, 10, 20, 30}: {info},
		{10, 40, 20, 30}: {warn},
		{10, 20, 40, 30}: {critical},
		{40, 30, 20, 10}: {warn, fault, critical},
		{10, 10, 10, 10}: {warn, fault, critical},
	} {
		cfg := DefaultConfig()
		a := &cfg.DegradedAlert
		a.InfoThreshold, a.WarnThreshold = minutes[0]*time.Minute, minutes[1]*time.Minute
		a.ErrorThreshold, a.CriticalThreshold = minutes[2]*time.Minute, minutes[3]*time.Minute
		err := cfg.Validate()
		if got := fieldsOf(t, err); !slices.Equal(got, want) {
			t.Errorf("%v minutes: %v, want %v", minutes, err, want)
		}
	}
}

func TestValidateNil(t *testing.T) {
	if err := (*Config)(nil).Validate(); !errors.Is(err, ErrInvalidConfig) {
		t.Errorf("got %v", err)
	}
}

func TestInvalidConfigMatchesNothingElse(t *testing.T) {
	err := fmt.Errorf("new manager: %w", (&Config{WorkerIDMin: -1}).Validate())
	if !errors.Is(err, ErrInvalidConfig) || errors.Is(err, ErrStopped) {
		t.Errorf("wrong match: %v", err)
	}
	if text := err.Error(); !strings.HasPrefix(text, "new manager: parti: invalid configuration: WorkerIDMin: -1: ") {
		t.Error(text)
	}
}

func TestWarnings(t *testing.T) {
	exclusive := func(ttl time.Duration, replicas int) *Config {
		return &Config{Ownership: OwnershipExclusive, HeartbeatTTL: ttl, KVBucket: KVBucketConfig{Replicas: replicas}}
	}
	available := exclusive(6*time.Second, 3)
	available.Ownership = OwnershipAvailable
	for name, tc := range map[string]struct {
		cfg  *Config
		want string // "" for none
	}{
		"exclusive on three replicas":           {exclusive(11*time.Second, 3), "HeartbeatTTL 11s is short for Ownership exclusive"},
		"exclusive on five replicas":            {exclusive(6*time.Second, 5), "use 15s or more"},
		"exclusive with a long TTL":             {exclusive(12*time.Second, 3), ""},
		"exclusive on one replica":              {exclusive(6*time.Second, 1), ""},
		"available on three replicas":           {available, ""},
		"one late heartbeat looks like a death": {&Config{HeartbeatTTL: 3 * time.Second}, "HeartbeatTTL 3s is less than twice HeartbeatInterval 2s"},
		"two heartbeats":                        {&Config{HeartbeatTTL: 4 * time.Second}, ""},
		"short recovery":                        {&Config{DegradedBehavior: DegradedBehaviorConfig{RecoveryGracePeriod: 5 * time.Second}}, "DegradedBehavior.RecoveryGracePeriod 5s is shorter than HeartbeatTTL 6s"},
	} {
		if err := tc.cfg.Validate(); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		SetDefaults(tc.cfg)
		got := tc.cfg.warnings()
		if (tc.want == "") != (got == nil) || tc.want != "" && !slices.ContainsFunc(got, func(w string) bool { return strings.Contains(w, tc.want) }) {
			t.Errorf("%s: got %q, want %q", name, got, tc.want)
		}
	}
}
