//go:build !linux

package bench

import (
	"errors"
	"time"
)

// cpuTime is known on Linux only.
func cpuTime(int) (time.Duration, error) { return 0, errors.ErrUnsupported }
