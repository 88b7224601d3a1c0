package parti

import (
	"errors"
	"fmt"
	"strings"
	"testing"
)

func TestErrorsMatchThemselvesOnly(t *testing.T) {
	all := []error{
		ErrInvalidConfig, ErrNATSConnectionRequired, ErrPartitionSourceRequired, ErrAssignmentStrategyRequired,
		ErrAlreadyStarted, ErrNotStarted, ErrStopped, ErrInHook, ErrStableIDExhausted, ErrJetStreamUnavailable,
		ErrBucketUnusable, ErrForeignApp,
		ErrNATSConnectionLost, ErrAssignmentVersionMismatch, ErrElectionFailed, ErrIDLost, ErrKV, ErrSource,
		ErrStrategy, ErrConsumerUpdate, ErrSuperseded, ErrHandoffForced, ErrForeignValue,
	}
	texts := make(map[string]bool)
	for i, err := range all {
		wrapped := fmt.Errorf("claim worker-3: %w", err)
		for j, target := range all {
			if got := errors.Is(wrapped, target); got != (i == j) {
				t.Errorf("errors.Is(%v, %v) = %v", wrapped, target, got)
			}
		}
		if text := err.Error(); !strings.HasPrefix(text, "parti: ") || texts[text] {
			t.Errorf("%q: want a text of its own that begins with the package", text)
		}
		texts[err.Error()] = true
	}
}
