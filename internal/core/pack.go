package core

import (
	"bytes"
	"compress/flate"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"math"
)

// Values that grow with the fleet or with the list (heads, payloads, drain
// lists) are packed:
//
//	'p'  kind  format  how  body  checksum
//
// one byte each for the letter, the kind, the format version and how the body is
// written; the body's numbers are varints and its strings have their length
// before them; the checksum is the CRC-32C of all before it. Every record also
// has a form in JSON, which [Readable] gives and decode takes.
const packed = 'p'

// How the body is written.
const (
	plain    = iota
	deflated // RFC 1951, after the length of what was deflated
)

const (
	packHead = 4
	packTail = 4
	// deflateFrom is the size from which deflating is tried: below, it saves
	// less than a packet.
	deflateFrom = 512
	// maxUnpacked bounds what a value may claim to inflate to.
	maxUnpacked = 1 << 24
	// maxShared bounds what the ids of a value may have in common with those before
	// them. Beyond, they are written whole.
	maxShared = 1 << 26
)

var (
	castagnoli = crc32.MakeTable(crc32.Castagnoli)

	errChecksum  = errors.New("the checksum does not match")
	errTruncated = errors.New("it ends early")
	errTrailing  = errors.New("something follows its end")
)

// packer is a record that is written packed.
type packer interface {
	kind() byte
	pack(w *packWriter)
}

// unpacker is the pointer to such a record.
type unpacker interface {
	kind() byte
	unpack(r *packReader)
}

// packRecord writes a record, deflated by d if that saves a tenth; a nil d does not
// try.
func packRecord(rec packer, d *deflater) []byte {
	w := packWriter{b: []byte{packed, rec.kind(), format, plain}}
	rec.pack(&w)
	b := w.b
	if body := b[packHead:]; d != nil && len(body) >= deflateFrom && len(body) <= maxUnpacked {
		if z := d.deflate(body); len(z) < len(body)*9/10 {
			b = append([]byte{packed, rec.kind(), format, deflated}, z...)
		}
	}
	return binary.LittleEndian.AppendUint32(b, crc32.Checksum(b, castagnoli))
}

// unpackRecord reads what packRecord wrote, and nothing else.
func unpackRecord(b []byte, rec unpacker) error {
	if len(b) < packHead+packTail {
		return errTruncated
	}
	if f := int(b[2]); f > format {
		return fmt.Errorf("%w %d, this one reads up to %d", errNewer, f, format)
	} else if f < 1 {
		return errors.New("without a version")
	}
	sum := len(b) - packTail
	if crc32.Checksum(b[:sum], castagnoli) != binary.LittleEndian.Uint32(b[sum:]) {
		return errChecksum
	}
	if b[1] != rec.kind() {
		return fmt.Errorf("a value of kind %q, where %q belongs", b[1], rec.kind())
	}
	body := b[packHead:sum]
	switch b[3] {
	case plain:
	case deflated:
		if b[1] == (chunkRecord{}).kind() { // thousands of them would inflate together
			return errors.New("a piece that is deflated")
		}
		var err error
		if body, err = inflate(body); err != nil {
			return err
		}
	default:
		return fmt.Errorf("written in way %d, which is not known", b[3])
	}
	r := packReader{s: string(body)} // one copy, which all its strings share
	rec.unpack(&r)
	if r.err == nil && r.s != "" {
		r.err = errTrailing
	}
	return r.err
}

// deflater is shared by what is written together, because making one costs a
// megabyte, and is not kept for longer, because it holds it.
type deflater struct{ w *flate.Writer }

func (d *deflater) deflate(body []byte) []byte {
	var z bytes.Buffer
	z.Grow(len(body)/2 + binary.MaxVarintLen64)
	z.Write(binary.AppendUvarint(nil, uint64(len(body))))
	var err error
	if d.w == nil {
		d.w, err = flate.NewWriter(&z, flate.BestSpeed)
	} else {
		d.w.Reset(&z)
	}
	if err == nil {
		_, err = d.w.Write(body)
	}
	if err == nil {
		err = d.w.Close()
	}
	if err != nil {
		panic("core: " + err.Error()) // the level is valid, and a buffer takes everything
	}
	return z.Bytes()
}

func inflate(z []byte) ([]byte, error) {
	n, used := binary.Uvarint(z)
	if used <= 0 || n > maxUnpacked {
		return nil, errTruncated
	}
	r := flate.NewReader(bytes.NewReader(z[used:]))
	// What is claimed allocates no more than what such a value usually becomes.
	body := bytes.NewBuffer(make([]byte, 0, min(n+bytes.MinRead, uint64(16*len(z)))))
	_, err := body.ReadFrom(io.LimitReader(r, int64(n)+1))
	switch {
	case err != nil:
		return nil, fmt.Errorf("inflate: %w", err)
	case uint64(body.Len()) < n:
		return nil, errTruncated
	case uint64(body.Len()) > n:
		return nil, errTrailing
	}
	return body.Bytes(), nil
}

// packWriter appends to a body.
type packWriter struct {
	b      []byte
	shared int // bytes that ids need not repeat
}

func (w *packWriter) uint(v uint64) { w.b = binary.AppendUvarint(w.b, v) }
func (w *packWriter) int(v int64)   { w.b = binary.AppendVarint(w.b, v) }
func (w *packWriter) bool(v bool) {
	if v {
		w.uint(1)
	} else {
		w.uint(0)
	}
}

func (w *packWriter) str(s string) {
	w.uint(uint64(len(s)))
	w.b = append(w.b, s...)
}

func (w *packWriter) strs(s []string) {
	w.uint(uint64(len(s)))
	for _, s := range s {
		w.str(s)
	}
}

// ids writes each without what it begins with like the one before: ids that lie next
// to each other in a list differ in few letters only.
func (w *packWriter) ids(ids []string) {
	w.uint(uint64(len(ids)))
	last := ""
	for _, id := range ids {
		same := 0
		for most := min(len(id), len(last), maxShared-w.shared); same < most && id[same] == last[same]; {
			same++
		}
		w.shared += same
		w.uint(uint64(same))
		w.str(id[same:])
		last = id
	}
}

func (w *packWriter) version(v version) {
	w.uint(v.Term)
	w.uint(v.Version)
}

// ref leaves out what the place tells: the worker.
func (w *packWriter) ref(r ref) {
	w.version(version{r.Term, r.Version})
	if !r.none() {
		w.b = append(w.b, r.Digest[:]...)
	}
}

// weights writes one for all when they are the same.
func (w *packWriter) weights(ws []int64) {
	same := len(ws) > 0
	for _, v := range ws {
		same = same && v == ws[0]
	}
	w.bool(same)
	if same {
		ws = ws[:1]
	}
	for _, v := range ws {
		w.int(v)
	}
}

// packReader takes from a body; after an error everything is zero.
type packReader struct {
	s      string
	err    error
	shared int
}

func (r *packReader) fail(err error) {
	if r.err == nil {
		r.err = err
	}
	r.s = ""
}

func (r *packReader) uint() uint64 {
	var v uint64
	for i := 0; i < len(r.s) && i < binary.MaxVarintLen64; i++ {
		c := r.s[i]
		if c < 0x80 {
			if i == binary.MaxVarintLen64-1 && c > 1 {
				break
			}
			r.s = r.s[i+1:]
			return v | uint64(c)<<(7*i)
		}
		v |= uint64(c&0x7f) << (7 * i)
	}
	r.fail(errTruncated)
	return 0
}

func (r *packReader) int() int64 {
	u := r.uint()
	return int64(u>>1) ^ -int64(u&1)
}

func (r *packReader) bool() bool { return r.uint() != 0 }

// count reads how many things follow, each of at least size bytes, so that a small
// value cannot make us allocate much.
func (r *packReader) count(size int) int {
	n := r.uint()
	if n > uint64(len(r.s)/size) {
		r.fail(errTruncated)
		return 0
	}
	return int(n)
}

func (r *packReader) str() string {
	n := r.count(1)
	s := r.s[:n]
	r.s = r.s[n:]
	return s
}

func (r *packReader) strs() []string {
	n := r.count(1)
	if n == 0 {
		return nil
	}
	out := make([]string, n)
	for i := range out {
		out[i] = r.str()
	}
	return out
}

// ids reads what ids of a packWriter wrote. All lie in one string.
func (r *packReader) ids() []string {
	n := r.count(2)
	if n == 0 {
		return nil
	}
	text, ends := make([]byte, 0, min(2*len(r.s), 32*n)), make([]int, n)
	from := 0
	for i := range ends {
		same := r.uint()
		rest := r.str()
		if same > uint64(min(len(text)-from, maxShared-r.shared)) {
			r.fail(errTruncated)
		}
		if r.err != nil {
			return nil
		}
		r.shared += int(same)
		text = append(append(text, text[from:from+int(same)]...), rest...)
		from, ends[i] = len(text)-int(same)-len(rest), len(text)
	}
	all, out, from := string(text), make([]string, n), 0
	for i, end := range ends {
		out[i] = all[from:end]
		from = end
	}
	return out
}

func (r *packReader) version() version { return version{r.uint(), r.uint()} }

func (r *packReader) ref() ref {
	v := r.version()
	out := ref{Term: v.Term, Version: v.Version}
	if out.none() {
		return ref{}
	}
	if len(r.s) < len(out.Digest) {
		r.fail(errTruncated)
		return ref{}
	}
	copy(out.Digest[:], r.s)
	r.s = r.s[len(out.Digest):]
	return out
}

// weights reads n of them.
func (r *packReader) weights(n int) []int64 {
	same := r.bool()
	if n == 0 || r.err != nil {
		return nil
	}
	if !same && n > len(r.s) {
		r.fail(errTruncated)
		return nil
	}
	out := make([]int64, n)
	for i := range out {
		if same && i > 0 {
			out[i] = out[0]
			continue
		}
		out[i] = r.int()
	}
	return out
}

// millis reads a duration that fits.
func (r *packReader) millis() millis { return millis(min(r.uint(), math.MaxInt64)) }

// Readable returns the form in JSON of any value of ours. That form can be
// written in place of the packed one.
func Readable(val []byte) ([]byte, error) {
	if len(val) < packHead || val[0] != packed {
		if !json.Valid(val) {
			return nil, fmt.Errorf("%w: neither packed nor JSON", ErrForeign)
		}
		return val, nil
	}
	var rec any
	var err error
	switch val[1] {
	case (headRecord{}).kind():
		rec, err = decode[headRecord](val)
	case (partRecord{}).kind():
		rec, err = decode[partRecord](val)
	case (heldRecord{}).kind():
		rec, err = decode[heldRecord](val)
	case (drainRecord{}).kind():
		rec, err = decode[drainRecord](val)
	case (chunkRecord{}).kind():
		rec, err = decode[chunkRecord](val)
	default:
		return nil, fmt.Errorf("%w: of kind %q", ErrForeign, val[1])
	}
	if err != nil {
		return nil, err
	}
	b, err := json.Marshal(rec)
	if err != nil {
		return nil, fmt.Errorf("write as JSON: %w", err)
	}
	return b, nil
}
