package parti

import (
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"
)

// defaultPreset is the preset whose numbers are the defaults.
const defaultPreset = "balanced"

var alertPresets = map[string]DegradedAlertConfig{
	"conservative": {
		InfoThreshold:     5 * time.Minute,
		WarnThreshold:     15 * time.Minute,
		ErrorThreshold:    30 * time.Minute,
		CriticalThreshold: 60 * time.Minute,
		AlertInterval:     2 * time.Minute,
	},
	"balanced": {
		InfoThreshold:     1 * time.Minute,
		WarnThreshold:     5 * time.Minute,
		ErrorThreshold:    15 * time.Minute,
		CriticalThreshold: 30 * time.Minute,
		AlertInterval:     30 * time.Second,
	},
	"aggressive": {
		InfoThreshold:     30 * time.Second,
		WarnThreshold:     2 * time.Minute,
		ErrorThreshold:    5 * time.Minute,
		CriticalThreshold: 10 * time.Minute,
		AlertInterval:     15 * time.Second,
	},
}

var behaviorPresets = map[string]DegradedBehaviorConfig{
	"conservative": {
		EnterThreshold:      30 * time.Second,
		ExitThreshold:       10 * time.Second,
		KVErrorThreshold:    10,
		KVErrorWindow:       60 * time.Second,
		RecoveryGracePeriod: 60 * time.Second,
	},
	"balanced": {
		EnterThreshold:      10 * time.Second,
		ExitThreshold:       5 * time.Second,
		KVErrorThreshold:    5,
		KVErrorWindow:       30 * time.Second,
		RecoveryGracePeriod: 30 * time.Second,
	},
	"aggressive": {
		EnterThreshold:      5 * time.Second,
		ExitThreshold:       3 * time.Second,
		KVErrorThreshold:    3,
		KVErrorWindow:       15 * time.Second,
		RecoveryGracePeriod: 15 * time.Second,
	},
}

// DegradedAlertPreset returns the alert thresholds of a preset: "conservative"
// (late and rare), "balanced" (the defaults) or "aggressive" (early and often).
// A configuration made with any other name is refused by Validate and
// NewManager with [ErrInvalidConfig], whatever its fields are set to afterwards.
func DegradedAlertPreset(name string) DegradedAlertConfig {
	if p, ok := alertPresets[name]; ok {
		return p
	}
	return DegradedAlertConfig{unknown: strconv.Quote(name)}
}

// DegradedBehaviorPreset returns the behavior of a preset: "conservative" (slow
// to enter degraded mode and to leave it), "balanced" (the defaults) or
// "aggressive" (quick). A configuration made with any other name is refused by
// Validate and NewManager with [ErrInvalidConfig], whatever its fields are set
// to afterwards.
func DegradedBehaviorPreset(name string) DegradedBehaviorConfig {
	if p, ok := behaviorPresets[name]; ok {
		return p
	}
	return DegradedBehaviorConfig{unknown: strconv.Quote(name)}
}

// presetNames lists the presets for error texts.
func presetNames[T any](presets map[string]T) string {
	return strings.Join(slices.Sorted(maps.Keys(presets)), ", ")
}
