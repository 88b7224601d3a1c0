package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"unicode/utf8"

	"github.com/arloliu/parti"
)

// rootFolder is the key of the partition of files that are in no folder. No
// folder can have that name.
const rootFolder = "."

// input is what the demo counts: the text files of a tree, partitioned by
// top-level folder.
type input struct {
	root  string
	files []inputFile // in the order of their paths
	parts []inputPart // in the order of their keys

	messages   int
	bytes      int64
	largeFiles int // files of several pieces
	binary     int // files left out: they contain a NUL byte
	special    int // entries left out: neither a file nor a folder
	unreadable []string

	// want is the count of one process over the same files.
	want *wordCounts
}

// inputFile is one text file.
type inputFile struct {
	path   string // relative to the root, with slashes
	part   int
	size   int64
	pieces int
	sum    uint32 // of the contents, to notice a change before it is published

	skip skipReason
}

type skipReason uint8

const (
	keep skipReason = iota
	skipBinary
	skipUnreadable
)

// inputPart is one partition.
type inputPart struct {
	key      string
	files    []int
	messages int
	bytes    int64
}

// partition is what the fleet divides: its weight is its size.
func (p inputPart) partition() parti.Partition {
	return parti.Partition{Keys: []string{p.key}, Weight: max(p.bytes, 1)}
}

// readInput walks the tree below dir, counts its words and finds out how many
// pieces every file has.
func readInput(ctx context.Context, dir string, limit int) (*input, error) {
	in, err := walkInput(dir)
	if err != nil {
		return nil, fmt.Errorf("input: %w", err)
	}
	if err := in.countAll(ctx, limit); err != nil {
		return nil, fmt.Errorf("input %s: %w", in.root, err)
	}
	in.settle()
	if len(in.files) == 0 {
		return nil, fmt.Errorf("input %s: no text file in it (%d binary, %d unreadable): name another folder with --input",
			in.root, in.binary, len(in.unreadable))
	}
	return in, nil
}

// walkInput lists the files below dir.
func walkInput(dir string) (*input, error) {
	// The root itself may be a symbolic link, which WalkDir would not follow.
	root, err := filepath.EvalSymlinks(dir)
	if err != nil {
		return nil, err
	}
	if st, err := os.Stat(root); err != nil {
		return nil, err
	} else if !st.IsDir() {
		return nil, fmt.Errorf("%s is not a folder", dir)
	}
	in := &input{root: root}
	err = filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		rel, rerr := filepath.Rel(root, path)
		switch {
		case rerr != nil:
			return rerr
		case err != nil && path == root:
			return err
		case err != nil: // a folder that cannot be listed
			in.unreadable = append(in.unreadable, filepath.ToSlash(rel))
			return nil //nolint:nilerr // shown, and nothing that ends the walk
		case d.IsDir():
			return nil
		case !d.Type().IsRegular():
			in.special++
			return nil
		}
		in.files = append(in.files, inputFile{path: filepath.ToSlash(rel)})
		return nil
	})
	return in, err
}

// countAll reads every file once, on all processors.
func (in *input) countAll(ctx context.Context, limit int) error {
	var (
		wg   sync.WaitGroup
		next atomic.Int64
		n    = max(1, runtime.GOMAXPROCS(0))
		sums = make([]*wordCounts, n)
		errs = make([]error, n)
	)
	for w := range n {
		sums[w] = newWordCounts()
		wg.Go(func() {
			buf := make([]byte, limit+1)
			for ctx.Err() == nil {
				i := int(next.Add(1)) - 1
				if i >= len(in.files) {
					return
				}
				if err := in.files[i].count(in.root, buf, sums[w]); err != nil {
					errs[w] = fmt.Errorf("%s: %w", in.files[i].path, err)
					return
				}
			}
		})
	}
	wg.Wait()
	if err := errors.Join(append(errs, ctx.Err())...); err != nil {
		return err
	}
	in.want = sums[0]
	for _, s := range sums[1:] {
		in.want.merge(s)
	}
	return nil
}

// open opens the file below root.
func (f *inputFile) open(root string) (*os.File, error) {
	return os.Open(filepath.Join(root, filepath.FromSlash(f.path))) //nolint:gosec // the user says what to read
}

// sniff is how much of a file tells whether it is binary; git looks as far.
const sniff = 8000

// count adds the words of the file to sum and finds its size, its checksum and
// its number of pieces. A file that cannot be read is marked, not an error. buf
// is one byte larger than a piece.
func (f *inputFile) count(root string, buf []byte, sum *wordCounts) error {
	file, err := f.open(root)
	if err != nil {
		f.skip = skipUnreadable
		return nil
	}
	defer func() { _ = file.Close() }() // only read
	limit := len(buf) - 1
	n, err := io.ReadFull(file, buf)
	head := buf[:n]
	if err != nil && !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
		f.skip = skipUnreadable
		return nil
	}
	if bytes.IndexByte(head[:min(sniff, n)], 0) >= 0 {
		f.skip = skipBinary
		return nil
	}
	if n <= limit {
		f.size, f.pieces, f.sum = int64(n), 1, checksum(0, head)
		sum.countText(head)
		return nil
	}
	// A large file is counted whole and cut separately, so that a wrong cut
	// shows in the totals.
	if _, err := file.Seek(0, io.SeekStart); err != nil {
		return err
	}
	if err := sum.countStream(file); err != nil {
		return err
	}
	if _, err := file.Seek(0, io.SeekStart); err != nil {
		return err
	}
	return eachPiece(file, limit, func(p []byte) error {
		f.size += int64(len(p))
		f.pieces++
		f.sum = checksum(f.sum, p)
		return nil
	})
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

func checksum(sum uint32, b []byte) uint32 { return crc32.Update(sum, castagnoli, b) }

// settle drops what was skipped and forms the partitions and totals.
func (in *input) settle() {
	kept := in.files[:0]
	byKey := make(map[string]int)
	for _, f := range in.files {
		switch f.skip {
		case skipBinary:
			in.binary++
			continue
		case skipUnreadable:
			in.unreadable = append(in.unreadable, f.path)
			continue
		case keep:
		}
		key := partitionKey(f.path)
		part, ok := byKey[key]
		if !ok {
			part = len(in.parts)
			byKey[key] = part
			in.parts = append(in.parts, inputPart{key: key})
		}
		f.part = part
		p := &in.parts[part]
		p.files = append(p.files, len(kept))
		p.messages += f.pieces
		p.bytes += f.size
		in.messages += f.pieces
		in.bytes += f.size
		if f.pieces > 1 {
			in.largeFiles++
		}
		kept = append(kept, f)
	}
	in.files = kept
}

// partitionKey returns the top-level folder of a path.
func partitionKey(path string) string {
	folder, _, ok := strings.Cut(path, "/")
	switch {
	case !ok:
		return rootFolder
	case !utf8.ValidString(folder):
		return strconv.QuoteToASCII(folder) // JSON would not carry it
	}
	return folder
}

// order returns the files in the order of publishing: those of a partition in
// the order of their paths, the partitions interleaved in proportion, so that
// all of them have work all the time.
func (in *input) order() []int {
	at := make([]float64, len(in.files))
	for _, p := range in.parts {
		for i, f := range p.files {
			at[f] = (float64(i) + 0.5) / float64(len(p.files))
		}
	}
	out := make([]int, len(in.files))
	for i := range out {
		out[i] = i
	}
	slices.SortStableFunc(out, func(a, b int) int {
		switch {
		case at[a] < at[b]:
			return -1
		case at[a] > at[b]:
			return 1
		}
		return 0
	})
	return out
}
