package natskv

import (
	"errors"
	"fmt"
	"slices"

	"github.com/nats-io/nats.go/jetstream"
)

// check returns an error for each property with which a bucket cannot serve,
// and what to do about it.
func (s *Store) check(name string, c *streamConfig) error {
	edit := "nats stream edit KV_" + name
	var found []error
	bad := func(is bool, format string, args ...any) {
		if is {
			found = append(found, fmt.Errorf("%w: %s: %s", ErrBucket, name, fmt.Sprintf(format, args...)))
		}
	}
	const anew = "delete it, and it is created as needed, or name another bucket"
	bad(c.MaxMsgsPerSubject != 1, "keeps %d values per key where 1 is needed: %s --max-msgs-per-subject 1",
		c.MaxMsgsPerSubject, edit)
	bad(!s.cfg.Memory && c.Storage == jetstream.MemoryStorage,
		"keeps its data in memory where file storage is asked for: %s, or ask for memory", anew)
	bad(c.Replicas < s.cfg.Replicas, "has %d replicas where %d are asked for: %s --replicas %d",
		c.Replicas, s.cfg.Replicas, edit, s.cfg.Replicas)
	bad(c.MaxAge > 0, "expires keys after %v, so that an outage would delete what is in use: %s --max-age 0", c.MaxAge, edit)
	bad(c.Discard == jetstream.DiscardOld && (c.MaxMsgs > 0 || c.MaxBytes > 0),
		"drops old keys when full (max messages %d, max bytes %d, discard old): %s --discard new", c.MaxMsgs, c.MaxBytes, edit)
	bad(c.Retention != jetstream.LimitsPolicy, "has retention %v where limits is needed: %s", c.Retention, anew)
	bad(!slices.Contains(c.Subjects, "$KV."+name+".>"), "has subjects %q without %q: it is no KV bucket: %s",
		c.Subjects, "$KV."+name+".>", anew)
	bad(!c.AllowRollup || c.DenyPurge, "denies roll-ups, which delete keys: %s --allow-rollup", edit)
	bad(c.Sealed, "is sealed: %s", anew)
	bad(c.NoAck, "does not acknowledge writes: %s", anew)
	bad(c.Mirror != nil, "is a mirror, which cannot be written: name the bucket it mirrors")
	bad(c.SubjectTransform != nil, "renames keys by a subject transform: %s", anew)
	return errors.Join(found...)
}

// doubts returns what is worth knowing of a bucket that can serve.
func (s *Store) doubts(name string, c *streamConfig) []string {
	var list []string
	major, minor, patch := s.serverVersion()
	atLeast := func(a, b int) bool { return major > a || major == a && minor >= b }
	switch {
	case c.MaxConsumers > 0 && c.MaxConsumers < maxConsumers:
		list = append(list, fmt.Sprintf("bucket %s allows %d consumers, and each worker needs several: nats stream edit KV_%s --max-consumers %d",
			name, c.MaxConsumers, name, maxConsumers))
	case c.MaxConsumers <= 0 && atLeast(2, 15):
		list = append(list, fmt.Sprintf("bucket %s sets no limit of consumers, so the server's default holds (1000): nats stream edit KV_%s --max-consumers %d",
			name, name, maxConsumers))
	}
	if c.Replicas > 1 && major == 2 && minor == 9 && patch >= 15 && patch <= 20 {
		list = append(list, fmt.Sprintf("bucket %s is replicated on nats-server 2.9.%d, whose compare-and-swap is not safe there: upgrade",
			name, patch))
	}
	if c.MaxMsgs > 0 || c.MaxBytes > 0 || c.MaxMsgSize > 0 {
		list = append(list, fmt.Sprintf("bucket %s is limited to %d messages, %d bytes, %d bytes per value: writes beyond are refused",
			name, c.MaxMsgs, c.MaxBytes, c.MaxMsgSize))
	}
	return list
}

// serverVersion is that of the server we are connected to; zeros if unknown.
func (s *Store) serverVersion() (major, minor, patch int) {
	if _, err := fmt.Sscanf(s.nc.ConnectedServerVersion(), "%d.%d.%d", &major, &minor, &patch); err != nil {
		return 0, 0, 0
	}
	return major, minor, patch
}
