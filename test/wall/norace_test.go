//go:build !race

package wall

// slow is what limits are multiplied with.
const slow = 1
