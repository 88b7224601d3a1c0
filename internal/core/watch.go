package core

import (
	"strconv"
	"time"
)

// watchKind names the watches of a core; each is open at most once.
type watchKind uint8

const (
	watchClaim  watchKind = iota // ids and tickets, while an id is claimed
	watchHeads                   // the head
	watchLeader                  // the leader key
	watchBeats                   // all heartbeats: by the leader, and to judge silent holders of ids
	watchFiles                   // payloads and drain lists, while the leader sweeps
	watchHeld                    // what workers hold, while the head is rebuilt: by the leader
	watchStrays                  // ids and tickets, while the leader lists what was left behind
	numWatches
)

// watcher is a watch that is made again, with backoff, until it is closed. A
// watch begins with the present values, so handlers see some twice and must be
// level-triggered.
type watcher struct {
	bucket  Bucket
	filter  string
	tag     string
	wanted  bool
	name    string        // of the watch last made
	id      WatchID       // of the open watch; 0 = none
	asked   time.Duration // when the open watch was asked for
	made    bool          // the open watch has been heard of
	count   int           // of the watches made so far
	tries   int           // since the last event
	synced  bool          // everything written before the watch began has been seen
	live    bool          // the present event happened after the watch began
	recount time.Duration // when its failing counts again
	begin   func()
	on      func(Watched)
}

func (c *Core) setupWatches() {
	c.watch = [numWatches]watcher{
		watchClaim:  {bucket: IDs, filter: c.cfg.Group + ".>", tag: "claim", begin: c.claimWatchBegins, on: c.onClaimWatch},
		watchHeads:  {bucket: Assignments, filter: c.headKeyName(), tag: "head", begin: func() {}, on: c.onHeadWatch},
		watchLeader: {bucket: Election, filter: c.leaderKeyName(), tag: "leader", begin: c.leaderWatchBegins, on: c.onLeaderWatch},
		watchBeats:  {bucket: Heartbeats, filter: c.key("hb", ">"), tag: "beats", begin: c.beatWatchBegins, on: c.onBeatWatch},
		watchFiles:  {bucket: Assignments, filter: c.cfg.Group + ".>", tag: "files", begin: func() {}, on: c.onFilesWatch},
		watchHeld:   {bucket: Assignments, filter: c.key("held", ">"), tag: "held", begin: c.heldWatchBegins, on: c.onHeldWatch},
		watchStrays: {bucket: IDs, filter: c.cfg.Group + ".>", tag: "strays", begin: func() {}, on: c.onStraysWatch},
	}
}

// want opens a watch, unless it is open.
func (c *Core) want(k watchKind) {
	w := &c.watch[k]
	if w.wanted {
		return
	}
	w.wanted, w.tries, w.recount = true, 0, 0
	c.openWatch(k)
}

func (c *Core) openWatch(k watchKind) {
	w := &c.watch[k]
	if !w.wanted || w.id != 0 || !c.conn.up {
		return
	}
	c.lastOp++
	w.id, w.synced, w.made, w.asked = WatchID(c.lastOp), false, false, c.now
	w.count++
	w.name = c.watchName(w.tag, strconv.Itoa(w.count))
	if w.tries > 0 && c.now-c.conn.since >= blink { // else the connection was lost, which the log has said
		c.log(Debug, "watch is made again", "watch", w.tag)
	}
	w.begin()
	c.emit(Watch{ID: w.id, Bucket: w.bucket, Filter: w.filter, Name: w.name})
}

// rewatch begins an open watch anew.
func (c *Core) rewatch(k watchKind) {
	if w := &c.watch[k]; w.id != 0 {
		c.emit(Unwatch{ID: w.id})
		w.id, w.synced = 0, false
		c.openWatch(k)
	}
}

func (c *Core) unwant(k watchKind) {
	w := &c.watch[k]
	w.wanted, w.synced = false, false
	c.timer.clear(timerWatch + timer(k))
	if w.id != 0 {
		c.emit(Unwatch{ID: w.id})
		w.id = 0
	}
}

func (c *Core) onWatched(ev Watched) {
	for k := range c.watch {
		w := &c.watch[k]
		if w.id != ev.Watch || w.id == 0 {
			continue
		}
		if !w.made {
			w.made = true
			c.feedWatch(w, OK, "")
		}
		w.tries, w.live = 0, w.synced
		if ev.Synced {
			w.synced = true
		}
		w.on(ev)
		return
	}
}

// feedWatch tells degraded mode how the making of a watch ended. It is tried over
// and over, and counts once it has failed for a heartbeat, then once per heartbeat:
// a reconnect makes all watches anew at one moment.
func (c *Core) feedWatch(w *watcher, err ErrKind, text string) {
	early := c.now < w.recount || w.recount == 0
	switch {
	case err == OK:
		w.recount = 0
	case c.now >= w.recount:
		w.recount = c.now + c.cfg.HeartbeatInterval
	}
	c.feed(asked{kind: opKind{w.bucket, watching}, verb: "watch", key: w.filter, began: w.asked, early: early}, err, text)
}

// onWatchLost makes a watch again: after a backoff while connected, else when
// the connection is back.
func (c *Core) onWatchLost(ev WatchLost) {
	for k := range c.watch {
		w := &c.watch[k]
		if w.id != ev.Watch || w.id == 0 {
			continue
		}
		w.id, w.synced = 0, false
		c.measure(MetricWatchRestarts, 1, w.tag)
		if ev.Err != OK {
			c.feedWatch(w, ev.Err, ev.Text)
		}
		if c.conn.up {
			c.timer.set(timerWatch+timer(k), c.now+c.backoff(w.tries))
			w.tries++
		}
		return
	}
}

func (c *Core) resumeWatches() {
	for k := range c.watch {
		if c.watch[k].wanted && c.watch[k].id == 0 {
			c.timer.set(timerWatch+timer(k), c.now+c.jitter(c.cfg.HeartbeatInterval/20))
		}
	}
}
