package parti

import (
	"errors"
	"strings"
	"testing"
	"time"
)

func TestPresets(t *testing.T) {
	mins, sec := time.Minute, time.Second
	for _, tc := range []struct {
		name     string
		alert    DegradedAlertConfig
		behavior DegradedBehaviorConfig
	}{
		{
			"conservative",
			DegradedAlertConfig{InfoThreshold: 5 * mins, WarnThreshold: 15 * mins, ErrorThreshold: 30 * mins, CriticalThreshold: 60 * mins, AlertInterval: 2 * mins},
			DegradedBehaviorConfig{EnterThreshold: 30 * sec, ExitThreshold: 10 * sec, KVErrorThreshold: 10, KVErrorWindow: 60 * sec, RecoveryGracePeriod: 60 * sec},
		},
		{"balanced", DefaultConfig().DegradedAlert, DefaultConfig().DegradedBehavior},
		{
			"aggressive",
			DegradedAlertConfig{InfoThreshold: 30 * sec, WarnThreshold: 2 * mins, ErrorThreshold: 5 * mins, CriticalThreshold: 10 * mins, AlertInterval: 15 * sec},
			DegradedBehaviorConfig{EnterThreshold: 5 * sec, ExitThreshold: 3 * sec, KVErrorThreshold: 3, KVErrorWindow: 15 * sec, RecoveryGracePeriod: 15 * sec},
		},
	} {
		cfg := Config{DegradedAlert: DegradedAlertPreset(tc.name), DegradedBehavior: DegradedBehaviorPreset(tc.name)}
		if cfg.DegradedAlert != tc.alert {
			t.Errorf("%s: %+v", tc.name, cfg.DegradedAlert)
		}
		if cfg.DegradedBehavior != tc.behavior {
			t.Errorf("%s: %+v", tc.name, cfg.DegradedBehavior)
		}
		if err := cfg.Validate(); err != nil {
			t.Errorf("%s: %v", tc.name, err)
		}
	}
}

func TestUnknownPreset(t *testing.T) {
	for _, name := range []string{"Balanced", "paranoid", ""} {
		cfg := &Config{DegradedAlert: DegradedAlertPreset(name), DegradedBehavior: DegradedBehaviorPreset(name)}
		cfg.DegradedAlert.InfoThreshold = time.Second // does not make the name known
		err := cfg.Validate()
		if !errors.Is(err, ErrInvalidConfig) {
			t.Fatalf("%q: %v", name, err)
		}
		for _, want := range []string{
			`DegradedAlert: preset "` + name + `": want one of aggressive, balanced, conservative`,
			`DegradedBehavior: preset "` + name + `": want one of aggressive, balanced, conservative`,
		} {
			if !strings.Contains(err.Error(), want) {
				t.Errorf("%q is missing in: %v", want, err)
			}
		}
		if got := len(fieldsOf(t, err)); got != 2 {
			t.Errorf("%d findings instead of 2: %v", got, err)
		}
	}
}
