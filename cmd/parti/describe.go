package main

import (
	"fmt"
	"strings"

	"github.com/dustin/go-humanize"

	"github.com/arloliu/parti"
)

// describe prints what is going to be done, and with what.
func (d *demo) describe() {
	in, w := d.in, d.opts.windows
	defaults := parti.DefaultConfig()
	var b strings.Builder
	line := func(name, format string, args ...any) {
		fmt.Fprintf(&b, "  %-9s%s\n", name, fmt.Sprintf(format, args...))
	}
	b.WriteString("\nparti demo: a fleet of processes counts words, one is killed and one joins on the way\n\n")
	line("input", "%s: %s text files, %s, %s words counted by one process", in.root, thousands(len(in.files)),
		humanize.Bytes(uint64(in.bytes)), thousands(in.want.total))
	left := fmt.Sprintf("%s binary files left out", thousands(in.binary))
	if in.special > 0 {
		left += fmt.Sprintf(", %s links and other special files", thousands(in.special))
	}
	if n := len(in.unreadable); n > 0 {
		left += fmt.Sprintf(", %s unreadable (%s first)", thousands(n), in.unreadable[0])
	}
	line("", "%s; %s files over %s in several pieces", left, thousands(in.largeFiles), humanize.IBytes(pieceSize))
	line("messages", "%s in %s partitions, one per top-level folder", thousands(in.messages), thousands(len(in.parts)))
	line("nats", "%s", d.bus.about)
	line("windows", "PlannedScaleWindow %s (default %s), MinRebalanceInterval %s (default %s), AckWait %s;",
		w.PlannedScaleWindow, defaults.PlannedScaleWindow, w.MinRebalanceInterval, defaults.Assignment.MinRebalanceInterval, w.AckWait)
	line("", "the rest is default: HeartbeatInterval %s, HeartbeatTTL %s, EmergencyGracePeriod %s, ColdStartSettle %s",
		defaults.HeartbeatInterval, defaults.HeartbeatTTL, defaults.EmergencyGracePeriod, defaults.ColdStartSettle)
	if d.opts.pace > 0 {
		line("pace", "publishing is spread over %s, so that there is work in flight: this is no benchmark", d.opts.pace)
	}
	b.WriteByte('\n')
	d.show.print(b.String())
}
