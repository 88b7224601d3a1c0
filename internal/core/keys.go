package core

import (
	"strconv"
	"strings"
)

// The keys of a fleet all begin with its group.

func (c *Core) key(parts ...string) string {
	return c.cfg.Group + "." + strings.Join(parts, ".")
}

func (c *Core) idKeyName(n int) string      { return c.key("id", strconv.Itoa(n)) }
func (c *Core) ticketKey(n string) string   { return c.key("ticket", n) }
func (c *Core) hbKeyName(w string) string   { return c.key("hb", w) }
func (c *Core) heldKeyName(w string) string { return c.key("held", w) }
func (c *Core) leaderKeyName() string       { return c.key("leader") }
func (c *Core) headKeyName() string         { return c.key("head") }
func (c *Core) partKey(r ref) string        { return c.refKey("part", r) }
func (c *Core) drainKey(r ref) string       { return c.refKey("drain", r) }
func (c *Core) workerName(n int) string     { return c.cfg.Prefix + "-" + strconv.Itoa(n) }
func (c *Core) refKey(k string, r ref) string {
	return c.key(k, r.Worker, strconv.FormatUint(r.Term, 10), strconv.FormatUint(r.Version, 10))
}

// tail returns what follows the group and kind in a key, and whether it is one
// of that kind.
func (c *Core) tail(key, kind string) (string, bool) {
	return strings.CutPrefix(key, c.cfg.Group+"."+kind+".")
}

// idNumber is the inverse of idKeyName.
func (c *Core) idNumber(key string) (int, bool) {
	s, ok := c.tail(key, "id")
	if !ok {
		return 0, false
	}
	n, err := strconv.Atoi(s)
	return n, err == nil && n >= 0 && strconv.Itoa(n) == s
}

// workerNumber is the inverse of workerName.
func (c *Core) workerNumber(w string) (int, bool) {
	s, ok := strings.CutPrefix(w, c.cfg.Prefix+"-")
	if !ok {
		return 0, false
	}
	n, err := strconv.Atoi(s)
	return n, err == nil
}
