package crew

import (
	"slices"
	"time"
)

// At returns a percentile, or -1 of none.
func At(all []time.Duration, percent int) time.Duration {
	if len(all) == 0 {
		return -1
	}
	all = slices.Sorted(slices.Values(all))
	return all[min(len(all)-1, len(all)*percent/100)]
}

// Short is a duration for a table.
func Short(d time.Duration) string {
	switch {
	case d < 0:
		return "-"
	case d < 10*time.Millisecond:
		return d.Round(10 * time.Microsecond).String()
	default:
		return d.Round(100 * time.Microsecond).String()
	}
}
