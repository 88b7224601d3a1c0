package natskv

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// Entry is a key with its value.
type Entry struct {
	Key     string
	Val     []byte
	Rev     uint64
	Deleted bool // a delete marker; never returned by Get
}

// The headers of a KV bucket.
const (
	hdrOperation = "KV-Operation"
	opDelete     = "DEL"
	opPurge      = "PURGE"
	hdrMarker    = "Nats-Marker-Reason" // the server deleted it
)

// markerTTL is how long a delete marker stays where the server can expire it:
// longer than a watch takes to be found lost and made again, and short enough
// that a key created anew seldom meets one, which costs two messages more.
const markerTTL = time.Minute

// Get reads a key from the leader of its stream. A key that is absent or
// deleted is [ErrNotFound].
func (s *Store) Get(ctx context.Context, bucket int, key string) (Entry, error) {
	e, err := s.read(ctx, bucket, key)
	if err == nil && e.Deleted {
		e, err = Entry{}, ErrNotFound
	}
	if err != nil {
		return Entry{}, fmt.Errorf("get %s: %w", key, err)
	}
	return e, nil
}

// Create writes a key that must not exist, or be deleted, and returns its
// revision. A conflict may also mean that somebody wrote or deleted the key at
// the same time.
func (s *Store) Create(ctx context.Context, bucket int, key string, val []byte) (uint64, error) {
	rev, err := s.write(ctx, bucket, key, val, 0, nil)
	if !errors.Is(err, ErrConflict) {
		return rev, wrapOp("create", key, err)
	}
	// Something is there. A delete marker is written over, by its revision.
	marker, rerr := s.read(ctx, bucket, key)
	switch {
	case errors.Is(rerr, ErrNotFound): // gone meanwhile: somebody is at it
		return 0, wrapOp("create", key, err)
	case rerr != nil:
		return 0, wrapOp("create", key, rerr)
	case !marker.Deleted:
		return 0, wrapOp("create", key, err)
	}
	rev, err = s.write(ctx, bucket, key, val, marker.Rev, nil)
	return rev, wrapOp("create", key, err)
}

// CreateFresh is Create for a key of which no deletion is known. A conflict costs
// one message less, and may also mean that the key is deleted.
func (s *Store) CreateFresh(ctx context.Context, bucket int, key string, val []byte) (uint64, error) {
	rev, err := s.write(ctx, bucket, key, val, 0, nil)
	return rev, wrapOp("create", key, err)
}

// Update writes a key that must stand at revision rev and returns its new
// revision. The revision of a delete marker, as a watch tells it, serves too.
func (s *Store) Update(ctx context.Context, bucket int, key string, val []byte, rev uint64) (uint64, error) {
	if rev == 0 { // to the server it would mean: must be absent
		return 0, wrapOp("update", key, ErrConflict)
	}
	rev, err := s.write(ctx, bucket, key, val, rev, nil)
	return rev, wrapOp("update", key, err)
}

// Delete deletes a key that must stand at revision rev. It leaves a marker that
// watches see and that, where the server can, disappears after a minute.
func (s *Store) Delete(ctx context.Context, bucket int, key string, rev uint64) error {
	if rev == 0 {
		return wrapOp("delete", key, ErrConflict)
	}
	hdr := nats.Header{}
	hdr.Set(hdrOperation, opPurge)
	hdr.Set(jetstream.MsgRollup, jetstream.MsgRollupSubject)
	if s.bucket(bucket).ttl {
		hdr.Set(jetstream.MsgTTLHeader, markerTTL.String())
	}
	_, err := s.write(ctx, bucket, key, nil, rev, hdr)
	return wrapOp("delete", key, err)
}

func wrapOp(op, key string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%s %s: %w", op, key, err)
}

// write publishes val if the last message of the key has sequence rev.
func (s *Store) write(ctx context.Context, bucket int, key string, val []byte, rev uint64, hdr nats.Header) (uint64, error) {
	if err := CheckKey(key); err != nil {
		return 0, err
	}
	b := s.bucket(bucket)
	if hdr == nil {
		hdr = nats.Header{}
	}
	hdr.Set(jetstream.ExpectedLastSubjSeqHeader, strconv.FormatUint(rev, 10))
	answer, err := s.request(ctx, &nats.Msg{Subject: s.put + b.subject(key), Header: hdr, Data: val})
	if err != nil {
		return 0, err
	}
	var ack struct {
		Error    *jetstream.APIError `json:"error"`
		Stream   string              `json:"stream"`
		Sequence uint64              `json:"seq"`
	}
	if err := json.Unmarshal(answer.Data, &ack); err != nil {
		return 0, fmt.Errorf("%w that can be read: %w", ErrAmbiguous, err)
	}
	switch {
	case ack.Error != nil:
		return 0, apiError(ack.Error)
	case ack.Stream != b.stream || ack.Sequence == 0:
		return 0, fmt.Errorf("%w: stream %q took a write to bucket %s", ErrRefused, ack.Stream, b.name)
	}
	return ack.Sequence, nil
}

// read asks the leader of the stream for the last message of a key, which may
// be a delete marker.
func (s *Store) read(ctx context.Context, bucket int, key string) (Entry, error) {
	if err := CheckKey(key); err != nil {
		return Entry{}, err
	}
	b := s.bucket(bucket)
	ask, err := json.Marshal(map[string]string{"last_by_subj": b.subject(key)})
	if err != nil {
		return Entry{}, fmt.Errorf("%w: %w", ErrRefused, err)
	}
	answer, err := s.request(ctx, &nats.Msg{Subject: s.api + "STREAM.MSG.GET." + b.stream, Data: ask})
	if err != nil {
		return Entry{}, err
	}
	var got struct {
		Error   *jetstream.APIError `json:"error"`
		Message *struct {
			Seq  uint64 `json:"seq"`
			Hdrs []byte `json:"hdrs"`
			Data []byte `json:"data"`
		} `json:"message"`
	}
	if err := json.Unmarshal(answer.Data, &got); err != nil {
		return Entry{}, fmt.Errorf("%w that can be read: %w", ErrAmbiguous, err)
	}
	switch {
	case got.Error != nil:
		return Entry{}, apiError(got.Error)
	case got.Message == nil:
		return Entry{}, fmt.Errorf("%w that can be read: no message in it", ErrAmbiguous)
	}
	e := Entry{Key: key, Val: got.Message.Data, Rev: got.Message.Seq}
	if len(got.Message.Hdrs) > 0 {
		hdr, err := nats.DecodeHeadersMsg(got.Message.Hdrs)
		if err != nil {
			return Entry{}, fmt.Errorf("%w that can be read: %w", ErrAmbiguous, err)
		}
		e.Deleted = isMarker(hdr)
	}
	return e, nil
}

// isMarker reports whether a message with these headers is a delete marker.
func isMarker(hdr nats.Header) bool {
	switch hdr.Get(hdrOperation) {
	case opDelete, opPurge:
		return true
	}
	return hdr.Get(hdrMarker) != ""
}

func (b bucket) subject(key string) string { return "$KV." + b.name + "." + key }

// CheckKey returns an [ErrRefused] for what is no key of a bucket, wildcards
// above all. Operations check by themselves.
func CheckKey(key string) error {
	bad := key == "" || key[0] == '.' || key[len(key)-1] == '.' || strings.Contains(key, "..")
	for i := 0; i < len(key) && !bad; i++ {
		c := key[i]
		bad = (c < '0' || c > '9') && (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && !strings.ContainsRune("-/_=.", rune(c))
	}
	if bad {
		return fmt.Errorf("%w: %q is not a key: letters, digits and -/_=. only, no empty token", ErrRefused, key)
	}
	return nil
}

// CheckFilter returns an [ErrRefused] for what [Store.Watch] cannot watch.
func CheckFilter(filter string) error {
	if filter == ">" {
		return nil
	}
	return CheckKey(strings.TrimSuffix(filter, ".>"))
}
