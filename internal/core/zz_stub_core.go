package core

import "time"

// Stub until the real core is merged.

type Core struct{ snap Snapshot }

type Snapshot struct {
	State         State
	Worker        string
	Leader        bool
	Term, Version uint64
	Lifecycle     string
	LeaseEnd      time.Duration
}

func New(Config) *Core { return &Core{} }

func (c *Core) Step(_ time.Duration, ev Event) []Effect {
	switch ev.(type) {
	case Start:
		return []Effect{Started{}}
	case Stop, Abort:
		return []Effect{Ended{}}
	}
	return nil
}

func (c *Core) Wake() (time.Duration, bool) { return 0, false }
func (c *Core) Snapshot() Snapshot          { return c.snap }
