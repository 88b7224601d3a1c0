package core

import (
	"fmt"
	"strings"
	"time"
)

// probing is how the world answers probes and tells notices: not at all unless a
// script says otherwise, as where neither is permitted.
type probing struct {
	answers, notices bool
}

// noticeAfter is how soon the server says that the consumer of a lost connection
// is deleted.
const noticeAfter = 250 * time.Millisecond

// present is the part of a node that others can tell from afar.
type present struct {
	serves    string
	listens   string
	headWatch string // name of the watch on the head
	mute      bool   // its subscription for probes is lost
}

func init() {
	// probes on|only|off: only is without notices
	fleetCommands["probes"] = func(s *script, args []string) error {
		s.probing = probing{answers: args[0] != "off", notices: args[0] == "on"}
		return nil
	}
	// mute NAME: nobody listens to probes any more, although it lives
	nodeCommands["mute"] = func(n *node, _ []string) error { n.mute = true; return nil }
	nodeCommands["unmute"] = func(n *node, _ []string) error { n.mute = false; return nil }
	// notice NAME [CONSUMER]: about its watch on the head, or any consumer
	nodeCommands["notice"] = func(n *node, args []string) error {
		name := n.headWatch
		if len(args) > 0 {
			name = args[0]
		}
		n.w.notify(name)
		return nil
	}
	// tell NAME OF: only to one, as a late one about a watch it listened to
	nodeCommands["tell"] = func(n *node, args []string) error {
		n.tell(Notice{Name: n.w.node(args[0]).headWatch})
		return nil
	}
	// crash NAMES: the process is gone, and the server says so
	nodeCommands["crash"] = func(n *node, _ []string) error {
		n.dead = true
		clear(n.running)
		n.gone()
		return nil
	}
	// drop NAME: the connection is gone, and the server says so
	nodeCommands["drop"] = func(n *node, _ []string) error {
		n.up = false
		n.tell(Disconnected{})
		n.gone()
		return nil
	}
}

// gone has the server notice that the connection is gone.
func (n *node) gone() {
	if n.w.probing.notices {
		name := n.headWatch
		n.w.after(noticeAfter, func() { n.w.notify(name) })
	}
}

func (w *world) notify(name string) {
	for _, n := range w.nodes {
		if n.listens == allNotices || n.listens == name {
			w.after(latency, func() { n.tell(Notice{Name: name}) })
		}
	}
}

// answerProbe finds out who listens.
func (n *node) answerProbe(e Probe) {
	w := n.w
	answer := func(after time.Duration, d Done) {
		d.Op = e.Op
		w.after(after, func() {
			if n.dead || n.ended {
				return
			}
			if w.shows["probe"] {
				w.printf(n.name, "probe %s = %s", e.Inc, map[ErrKind]string{OK: "answered", NotFound: "nobody", Ambiguous: "no answer", Down: "down"}[d.Err])
			}
			n.tell(d)
		})
	}
	switch {
	case !n.up:
		answer(0, Done{Err: Down})
		return
	case !w.probing.answers, n.silent:
		answer(e.Timeout, Done{Err: Ambiguous})
		return
	}
	for _, o := range w.nodes {
		if o.serves != e.Inc || o.dead || o.ended || !o.up || o.mute {
			continue
		}
		if o.silent || o.paused {
			answer(e.Timeout, Done{Err: Ambiguous})
			return
		}
		w.after(latency/2, func() { o.tell(Probed{Inc: e.Inc}) })
		answer(latency, Done{})
		return
	}
	answer(latency, Done{Err: NotFound})
}

// attends performs the effects about probes and notices.
func (n *node) attends(e Effect) {
	switch e := e.(type) {
	case Watch:
		if strings.Contains(e.Name, "_head_") {
			n.headWatch = e.Name
		}
	case Serve:
		n.serves = e.Inc
	case Listen:
		n.listens = e.Name
	case Probe:
		n.answerProbe(e)
	}
}

// renderPresence writes the effects about probes and notices.
func renderPresence(e Effect) string {
	switch e := e.(type) {
	case Serve:
		return fmt.Sprintf("serve %q", e.Inc)
	case Listen:
		return fmt.Sprintf("listen %q", e.Name)
	case Probe:
		return "probe " + e.Inc
	}
	return ""
}
