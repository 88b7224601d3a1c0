//go:build !race

package onecpu

const race = false
