package guidecheck

import (
	"go/ast"
	"go/parser"
	"go/token"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// logKeys returns the keys of every line that the library logs, with the places.
func logKeys(t *testing.T) map[string][]string {
	t.Helper()
	keys := map[string][]string{}
	add := func(at string, pairs []ast.Expr) {
		for i := 0; i < len(pairs); i += 2 {
			if lit, ok := pairs[i].(*ast.BasicLit); ok && lit.Kind == token.STRING {
				key, err := strconv.Unquote(lit.Value)
				if err != nil {
					t.Fatal(err)
				}
				keys[key] = append(keys[key], at)
			}
		}
	}
	set := token.NewFileSet()
	for _, path := range slices.Concat(glob(t, "*.go"), glob(t, "internal/core/*.go"), glob(t, "subscription/*.go")) {
		if strings.HasSuffix(path, "_test.go") {
			continue
		}
		file, err := parser.ParseFile(set, path, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		ast.Inspect(file, func(n ast.Node) bool {
			if lit, ok := n.(*ast.CompositeLit); ok && isPairs(lit) {
				add(set.Position(lit.Pos()).String(), lit.Elts)
			}
			call, ok := n.(*ast.CallExpr)
			if !ok {
				return true
			}
			at := set.Position(call.Pos()).String()
			name := ""
			switch fun := call.Fun.(type) {
			case *ast.SelectorExpr:
				name = fun.Sel.Name
			case *ast.Ident:
				name = fun.Name
			}
			switch {
			case name == "log" && len(call.Args) >= 2: // of the core: level, message, pairs
				add(at, call.Args[2:])
			case slices.Contains([]string{"Debug", "Info", "Warn", "Error"}, name) && len(call.Args) >= 1:
				add(at, call.Args[1:])
			case name == "append" && len(call.Args) >= 1:
				if id, ok := call.Args[0].(*ast.Ident); ok && id.Name == "all" { // of the logger itself
					add(at, call.Args[1:])
				} else if inner, ok := call.Args[0].(*ast.CallExpr); ok && len(inner.Args) > 0 && makesPairs(inner.Args[0]) {
					add(at, call.Args[1:])
				}
			}
			return true
		})
	}
	return keys
}

// isPairs tells whether a literal is a []any.
func isPairs(lit *ast.CompositeLit) bool { return makesPairs(lit.Type) }

func makesPairs(typ ast.Expr) bool {
	a, ok := typ.(*ast.ArrayType)
	if !ok {
		return false
	}
	id, ok := a.Elt.(*ast.Ident)
	return ok && id.Name == "any"
}

// The operator's manual lists every key of the log, and no other.
func TestLogKeys(t *testing.T) {
	text := readFile(t, "docs/OPERATIONS.md")
	_, section, ok := strings.Cut(text, "\n## The log\n")
	if !ok {
		t.Fatal("no section about the log")
	}
	section, _, _ = strings.Cut(section, "\n## ")
	listed := map[string]bool{}
	for _, row := range regexp.MustCompile("(?m)^\\| (`.*?) \\|").FindAllStringSubmatch(section, -1) {
		for _, m := range regexp.MustCompile("`(\\w+)`").FindAllStringSubmatch(row[1], -1) {
			listed[m[1]] = true
		}
	}
	used := logKeys(t)
	if len(used) < 15 {
		t.Fatalf("found the keys %v only", used)
	}
	for key, at := range used {
		if !listed[key] {
			t.Errorf("%v: the key %q is not documented", at, key)
		}
	}
	for key := range listed {
		if used[key] == nil {
			t.Errorf("no line has the documented key %q", key)
		}
	}
}

// The tests that the operator's manual names exist.
func TestNamedTestsExist(t *testing.T) {
	have := map[string]bool{}
	for _, path := range slices.Concat(glob(t, "*_test.go"), glob(t, "*/*_test.go"), glob(t, "*/*/*_test.go")) {
		for _, m := range regexp.MustCompile(`(?m)^func (Test\w+)\(`).FindAllStringSubmatch(readFile(t, path), -1) {
			have[m[1]] = true
		}
	}
	named := regexp.MustCompile("`(Test\\w+)`").FindAllStringSubmatch(readFile(t, "docs/OPERATIONS.md"), -1)
	if len(named) < 20 {
		t.Fatalf("%d tests are named", len(named))
	}
	for _, m := range named {
		if !have[m[1]] {
			t.Errorf("OPERATIONS.md names %s, which does not exist", m[1])
		}
	}
}
