//go:build race

package wall

// slow is what limits are multiplied with: the race detector costs several times
// the processor time.
const slow = 5
