package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// tree writes files into a new folder.
func tree(t *testing.T, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for path, text := range files {
		name := filepath.Join(dir, filepath.FromSlash(path))
		if err := os.MkdirAll(filepath.Dir(name), 0o750); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func TestReadInput(t *testing.T) {
	dir := tree(t, map[string]string{
		"a/one.txt":      "alpha beta",
		"a/deep/two.txt": "beta",
		"b/large.txt":    strings.Repeat("gamma ", 200), // 1,200 bytes
		"b/binary":       "delta\x00",
		"b/empty":        "",
		"top.txt":        "alpha",
	})
	if err := os.Symlink("top.txt", filepath.Join(dir, "link")); err != nil {
		t.Fatal(err)
	}
	in, err := readInput(t.Context(), dir, 500)
	if err != nil {
		t.Fatal(err)
	}
	if in.binary != 1 || in.special != 1 || in.largeFiles != 1 || in.messages != 7 || in.bytes != 1219 {
		t.Errorf("binary %d, special %d, large %d, messages %d, bytes %d", in.binary, in.special, in.largeFiles, in.messages, in.bytes)
	}
	if got, want := fmt.Sprint(in.want.flat()), "map[alpha:2 beta:2 gamma:200]"; got != want {
		t.Errorf("counts %s, want %s", got, want)
	}
	var parts []string
	for _, p := range in.parts {
		parts = append(parts, fmt.Sprintf("%s: %d files, %d messages, weight %d", p.partition(), len(p.files), p.messages, p.partition().Weight))
	}
	want := []string{
		"a: 2 files, 2 messages, weight 14",
		"b: 2 files, 4 messages, weight 1200",
		"%2E: 1 files, 1 messages, weight 5",
	}
	if fmt.Sprint(parts) != fmt.Sprint(want) {
		t.Errorf("partitions %q, want %q", parts, want)
	}
}

func TestReadInputThroughLink(t *testing.T) {
	dir := tree(t, map[string]string{"a/one.txt": "alpha"})
	link := filepath.Join(t.TempDir(), "link")
	if err := os.Symlink(dir, link); err != nil {
		t.Fatal(err)
	}
	in, err := readInput(t.Context(), link, 500)
	if err != nil || len(in.files) != 1 {
		t.Errorf("through a link: %v, %v", in, err)
	}
}

func TestReadInputErrors(t *testing.T) {
	file := filepath.Join(tree(t, map[string]string{"f": "text"}), "f")
	cancelled, cancel := context.WithCancel(t.Context())
	cancel()
	tests := []struct {
		name, dir string
		ctx       context.Context //nolint:containedctx // a case
		is        error
		says      string
	}{
		{"missing", filepath.Join(t.TempDir(), "none"), t.Context(), fs.ErrNotExist, "none"},
		{"a file", file, t.Context(), nil, "is not a folder"},
		{"empty", t.TempDir(), t.Context(), nil, "no text file in it (0 binary, 0 unreadable): name another folder with --input"},
		{"binary only", tree(t, map[string]string{"x": "\x00"}), t.Context(), nil, "1 binary"},
		{"cancelled", filepath.Dir(file), cancelled, context.Canceled, "input"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, err := readInput(tt.ctx, tt.dir, 500)
			if err == nil || !strings.Contains(err.Error(), tt.says) || tt.is != nil && !errors.Is(err, tt.is) {
				t.Errorf("error %v, want one that says %q", err, tt.says)
			}
		})
	}
}

func TestUnreadableFilesAreCounted(t *testing.T) {
	if os.Geteuid() == 0 {
		t.Skip("root reads everything")
	}
	dir := tree(t, map[string]string{"a/one": "alpha", "a/two": "beta", "b/three": "gamma"})
	for _, p := range []string{"a/two", "b"} {
		if err := os.Chmod(filepath.Join(dir, p), 0); err != nil {
			t.Fatal(err)
		}
	}
	t.Cleanup(func() { _ = os.Chmod(filepath.Join(dir, "b"), 0o700) })
	in, err := readInput(t.Context(), dir, 500)
	if err != nil {
		t.Fatal(err)
	}
	if len(in.files) != 1 || len(in.unreadable) != 2 {
		t.Errorf("%d files, unreadable %q", len(in.files), in.unreadable)
	}
}

func TestPartitionKey(t *testing.T) {
	tests := []struct{ path, want string }{
		{"file", "."},
		{"a/file", "a"},
		{"a/b/file", "a"},
		{"a.b c/file", "a.b c"},
		{"bad\xff/file", `"bad\xff"`},
	}
	for _, tt := range tests {
		if got := partitionKey(tt.path); got != tt.want {
			t.Errorf("partitionKey(%q) = %q, want %q", tt.path, got, tt.want)
		}
	}
}

func TestOrderInterleavesPartitions(t *testing.T) {
	in := &input{}
	for _, p := range []string{"a/1", "a/2", "a/3", "a/4", "b/1", "b/2", "c/1"} {
		in.files = append(in.files, inputFile{path: p, pieces: 1})
	}
	in.settle()
	var got []string
	for _, i := range in.order() {
		got = append(got, in.files[i].path)
	}
	if want := "[a/1 b/1 a/2 c/1 a/3 b/2 a/4]"; fmt.Sprint(got) != want {
		t.Errorf("order %v, want %s", got, want)
	}
}
