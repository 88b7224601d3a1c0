package natskv

import (
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

// streamConfig is what we say and want to know of a stream. The types of nats.go
// have everything there is, and reflecting on them costs every process more
// memory than a manager takes.
type streamConfig struct {
	Name              string                    `json:"name"`
	Subjects          []string                  `json:"subjects,omitempty"`
	Retention         jetstream.RetentionPolicy `json:"retention"`
	MaxConsumers      int                       `json:"max_consumers"`
	MaxMsgs           int64                     `json:"max_msgs"`
	MaxBytes          int64                     `json:"max_bytes"`
	Discard           jetstream.DiscardPolicy   `json:"discard"`
	MaxAge            time.Duration             `json:"max_age"`
	MaxMsgsPerSubject int64                     `json:"max_msgs_per_subject"`
	MaxMsgSize        int32                     `json:"max_msg_size,omitempty"`
	Storage           jetstream.StorageType     `json:"storage"`
	Replicas          int                       `json:"num_replicas"`
	NoAck             bool                      `json:"no_ack,omitempty"`
	Duplicates        time.Duration             `json:"duplicate_window,omitempty"`
	Sealed            bool                      `json:"sealed,omitempty"`
	DenyDelete        bool                      `json:"deny_delete,omitempty"`
	DenyPurge         bool                      `json:"deny_purge,omitempty"`
	AllowRollup       bool                      `json:"allow_rollup_hdrs,omitempty"`
	AllowDirect       bool                      `json:"allow_direct"`
	AllowMsgTTL       bool                      `json:"allow_msg_ttl,omitempty"`
	// Of these only whether they are there counts.
	Mirror           *struct{} `json:"mirror,omitempty"`
	SubjectTransform *struct{} `json:"subject_transform,omitempty"`
}

// streamInfo is what we want to know of a stream that is there.
type streamInfo struct {
	Config  *streamConfig `json:"config"` // nil in an answer that is none
	Created time.Time     `json:"created"`
	State   struct {
		LastSeq  uint64            `json:"last_seq"`
		Subjects map[string]uint64 `json:"subjects"`
	} `json:"state"`
}

// apiAnswer is the answer to a request about a stream.
type apiAnswer struct {
	Error *jetstream.APIError `json:"error"`
	streamInfo
}

// consumerRequest asks for a consumer.
type consumerRequest struct {
	Stream string         `json:"stream_name"`
	Action string         `json:"action"`
	Config consumerConfig `json:"config"`
}

type consumerConfig struct {
	Name              string                  `json:"name"`
	DeliverSubject    string                  `json:"deliver_subject"`
	FilterSubject     string                  `json:"filter_subject"`
	DeliverPolicy     jetstream.DeliverPolicy `json:"deliver_policy"`
	AckPolicy         jetstream.AckPolicy     `json:"ack_policy"`
	ReplayPolicy      jetstream.ReplayPolicy  `json:"replay_policy"`
	MaxDeliver        int                     `json:"max_deliver"`
	IdleHeartbeat     time.Duration           `json:"idle_heartbeat"`
	InactiveThreshold time.Duration           `json:"inactive_threshold"`
	MemoryStorage     bool                    `json:"mem_storage"`
	Replicas          int                     `json:"num_replicas"`
}
