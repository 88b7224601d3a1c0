package guidecheck

import (
	"flag"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/arloliu/parti"
)

var updateDocs = flag.Bool("update-docs", false, "write the snippets of the Examples into the documents")

// Every Go snippet of the documents is a piece of a compiled Example, named in
// the line above it.
func TestDocSnippets(t *testing.T) {
	snippets := readSnippets(t)
	unused := maps.Clone(snippets)
	goBlock := regexp.MustCompile("(?ms)^(?:<!-- snippet:([a-z-]+) -->\n)?```go\n(.*?)^```$")
	for _, path := range documents(t) {
		text := readFile(t, path)
		want := goBlock.ReplaceAllStringFunc(text, func(block string) string {
			m := goBlock.FindStringSubmatch(block)
			name, shown := m[1], m[2]
			snippet, ok := snippets[name]
			if !ok {
				t.Errorf("%s: no Example has the snippet %q:\n%s", path, name, shown)
				return block
			}
			delete(unused, name)
			return "<!-- snippet:" + name + " -->\n```go\n" + snippet + "```"
		})
		switch {
		case want == text:
		case *updateDocs:
			if err := os.WriteFile(path, []byte(want), 0o644); err != nil {
				t.Error(err)
			}
		default:
			t.Errorf("%s does not show what the Examples have: run go test ./internal/guidecheck -update-docs", path)
		}
	}
	for name := range unused {
		t.Errorf("no document shows the snippet %q", name)
	}
}

// readSnippets returns what stands between "// snippet:name" and
// "// snippet:end" in the Examples, moved to the left.
func readSnippets(t *testing.T) map[string]string {
	t.Helper()
	marked := regexp.MustCompile(`(?ms)^(\t*)// snippet:([a-z-]+)\n\n?(.*?)\n*^\t*// snippet:end$`)
	snippets := map[string]string{}
	for _, path := range slices.Concat(glob(t, "example_guide*_test.go"), glob(t, "examples/*/*.go")) {
		for _, m := range marked.FindAllStringSubmatch(readFile(t, path), -1) {
			indent, name, text := m[1], m[2], m[3]
			if snippets[name] != "" {
				t.Errorf("%s: a second snippet %q", path, name)
			}
			lines := strings.Split(text, "\n")
			for i, line := range lines {
				lines[i] = strings.TrimPrefix(line, indent)
			}
			snippets[name] = strings.Join(lines, "\n") + "\n"
		}
	}
	return snippets
}

// The guide lists every setting with its name in YAML and its default.
func TestGuideSettings(t *testing.T) {
	row := regexp.MustCompile("(?m)^\\| `([A-Z][A-Za-z.]+)` \\| `([a-z][a-zA-Z.]+)` \\| ([^|]*) \\|")
	type setting struct{ yaml, def string }
	listed := map[string]setting{}
	for _, m := range row.FindAllStringSubmatch(readFile(t, "docs/USER_GUIDE.md"), -1) {
		listed[m[1]] = setting{m[2], strings.Trim(m[3], "` ")}
	}
	var walk func(v reflect.Value, name, yaml string)
	walk = func(v reflect.Value, name, yaml string) {
		for f, field := range v.Fields() {
			if !f.IsExported() {
				continue
			}
			name, yaml := name+f.Name, yaml+f.Tag.Get("yaml")
			if field.Kind() == reflect.Struct {
				walk(field, name+".", yaml+".")
				continue
			}
			if field.Kind() == reflect.Pointer {
				field = field.Elem()
			}
			s, ok := listed[name]
			delete(listed, name)
			switch {
			case !ok:
				t.Errorf("the guide does not list %s", name)
			case s.yaml != yaml:
				t.Errorf("%s is %s in YAML, the guide says %s", name, yaml, s.yaml)
			case s.def == "none" && field.IsZero():
			case !isSetting(field, s.def):
				t.Errorf("%s defaults to %v, the guide says %s", name, field, s.def)
			}
		}
	}
	walk(reflect.ValueOf(*parti.DefaultConfig()), "", "")
	for name := range listed {
		t.Errorf("the guide lists %s, which is no setting", name)
	}
}

// Errors and states go by their names in the guide and in the operator's manual.
func TestDocNames(t *testing.T) {
	errorNames := regexp.MustCompile(`(?m)^\t(Err[A-Z]\w+) +=`).FindAllStringSubmatch(readFile(t, "errors.go"), -1)
	if len(errorNames) < 10 {
		t.Fatalf("found %d errors in errors.go", len(errorNames))
	}
	for _, path := range []string{"docs/USER_GUIDE.md", "docs/OPERATIONS.md"} {
		text := readFile(t, path)
		for _, m := range errorNames {
			if !strings.Contains(text, "`"+m[1]+"`") {
				t.Errorf("%s does not name %s", path, m[1])
			}
		}
		for s := parti.StateInit; s <= parti.StateShutdown; s++ {
			if !strings.Contains(text, "`"+s.String()+"`") {
				t.Errorf("%s does not name the state %v", path, s)
			}
		}
	}
}

// The operator's manual says of which error each kind is.
func TestErrorKinds(t *testing.T) {
	text := readFile(t, "docs/OPERATIONS.md")
	for _, kind := range parti.ErrorKinds() {
		row := regexp.MustCompile("(?m)^\\| `Err\\w+` \\| [^|]*`OnError` \\(`" + kind + "`\\)")
		if !row.MatchString(text) && kind != "other" {
			t.Errorf("no error is of the kind %s", kind)
		}
	}
}

// Links within the project lead somewhere.
func TestDocLinks(t *testing.T) {
	link := regexp.MustCompile(`\]\(([^)\s]+)\)`)
	for _, path := range documents(t) {
		for _, m := range link.FindAllStringSubmatch(readFile(t, path), -1) {
			file, anchor, _ := strings.Cut(m[1], "#")
			if strings.Contains(file, "://") {
				continue
			}
			target := path
			if file != "" {
				target = filepath.Join(filepath.Dir(path), file)
			}
			if _, err := os.Stat(target); err != nil {
				t.Errorf("%s: %s leads nowhere", path, m[1])
			} else if anchor != "" && !slices.Contains(anchors(readFile(t, target)), anchor) {
				t.Errorf("%s: %s has no such section", path, m[1])
			}
		}
	}
}

// anchors returns the names by which the headings of a document can be linked.
func anchors(text string) []string {
	var names []string
	for _, m := range regexp.MustCompile(`(?m)^#+ (.+)$`).FindAllStringSubmatch(text, -1) {
		name := regexp.MustCompile(`[^\w\- ]`).ReplaceAllString(strings.ToLower(m[1]), "")
		names = append(names, strings.ReplaceAll(name, " ", "-"))
	}
	return names
}

func documents(t *testing.T) []string {
	t.Helper()
	return slices.Concat(glob(t, "*.md"), glob(t, "docs/*.md"), glob(t, "docs/*/*.md"), glob(t, "docs/*/*/*.md"))
}

func glob(t *testing.T, pattern string) []string {
	t.Helper()
	paths, err := filepath.Glob(pattern)
	if err != nil {
		t.Fatal(err)
	}
	return paths
}
