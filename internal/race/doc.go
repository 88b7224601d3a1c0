// Package race tells tests whether the race detector watches them. What a test repeats
// to find rare numbers or moments, it need not repeat ten times as slowly: the same
// code runs, and without the detector it runs as often as it must.
package race
