//go:build race

package sim

// defaultSeeds is few under the race detector: a world is one goroutine.
const defaultSeeds = 10
