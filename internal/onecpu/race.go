//go:build race

package onecpu

const race = true
