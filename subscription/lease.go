package subscription

import (
	"fmt"
	"time"
)

// isRevoked reports whether nothing may be done for the partition any more, or for
// want of a lease at present.
func (p *partition) isRevoked() bool { return p.work.Err() != nil || !p.leased() }

// leased reports whether what is done for the partition may still take effect.
func (p *partition) leased() bool { return p.held(p.work) }

// leaseLook is how often is looked whether a lease that has ended was renewed.
const leaseLook = 100 * time.Millisecond

// errLeaseEnded has a partition begin again when its worker has a lease again.
var errLeaseEnded = fmt.Errorf("%w: the lease of the worker has ended", ErrRevoked)

// awaitLease waits until the lease is held, or the partition is stopped: it is
// renewed, or the update that takes the partition away is on its way.
func (p *partition) awaitLease() {
	for !p.leased() {
		if !p.pause(leaseLook) {
			return
		}
	}
}
