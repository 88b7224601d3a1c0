package parti

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"math"
	"reflect"
	"strconv"
	"strings"
	"time"

	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/lexer"
	"github.com/goccy/go-yaml/parser"
	"github.com/goccy/go-yaml/token"
)

const (
	// maxConfigSize bounds what LoadConfig reads.
	maxConfigSize = 64 << 10
	// maxBrackets bounds '{' and '[': a configuration has five mappings and no
	// list, and the parser takes quadratic time (20 s for 64 KiB of '[') and deep
	// recursion for nested ones.
	maxBrackets = 16

	byteOrderMark = "\ufeff"
)

// LoadConfig reads a configuration from YAML, fills the defaults and validates
// the result, which is ready for NewManager. Fields have the names of their yaml
// tags (workerIdPrefix, kvBucket.replicas, …) and durations a unit, such as 30s
// or 1.5s. An absent or empty field gets its default; so does an empty input. A
// zero that is written down is no default: where zero means nothing it is refused.
//
// Errors match [ErrInvalidConfig] and name everything that is wrong with its
// line: unknown fields, values that do not fit their field, and what Validate
// finds. Only an error of r does not match; it is wrapped as it is.
//
// To write a Config, call [SetDefaults] and marshal it with a YAML package of your
// choice: those in common use write durations as LoadConfig reads them.
func LoadConfig(r io.Reader) (*Config, error) {
	text, err := io.ReadAll(io.LimitReader(r, maxConfigSize+1))
	if err != nil {
		return nil, fmt.Errorf("read configuration: %w", err)
	}
	if len(text) > maxConfigSize {
		return nil, refuseFile("more than 64 KiB", "a configuration of parti, which is smaller")
	}
	root, err := parseYAML(strings.TrimPrefix(string(text), byteOrderMark))
	if err != nil {
		return nil, err
	}
	cfg := &Config{}
	l := loader{anchors: map[string]ast.Node{}, places: map[string]string{}}
	if root != nil {
		ast.Walk(&l, root)
		l.object(reflect.ValueOf(cfg).Elem(), root, "", "")
	}
	SetDefaults(cfg)
	for _, field := range l.zeros {
		field.SetZero()
	}
	findings := l.findings
	if invalid, ok := errors.AsType[*configError](cfg.check()); ok {
		findings = l.merge(findings, invalid.findings)
	}
	if findings != nil {
		return nil, &configError{findings: findings}
	}
	return cfg, nil
}

func refuseFile(value, want string) error {
	return &configError{findings: []finding{{field: "YAML", value: value, want: want}}}
}

// parseYAML returns the content of the only document, nil when there is none.
func parseYAML(text string) (ast.Node, error) {
	tokens := lexer.Tokenize(text)
	brackets := 0
	for _, t := range tokens {
		if t.Type != token.MappingStartType && t.Type != token.SequenceStartType {
			continue
		}
		if brackets++; brackets > maxBrackets {
			return nil, refuseFile(fmt.Sprintf("more than %d opening brackets, the last in %s", maxBrackets, place(t)),
				"fewer: not as many fields take a mapping")
		}
	}
	file, err := parser.Parse(tokens, 0)
	if err != nil {
		return nil, refuseFile("", "valid YAML: "+err.Error())
	}
	var root ast.Node
	for _, doc := range file.Docs {
		switch doc.Body.(type) {
		case nil, *ast.DirectiveNode:
			continue
		}
		if root != nil {
			return nil, refuseFile(fmt.Sprintf("another document in %s", place(doc.Body.GetToken())), "a single document")
		}
		root = doc.Body
	}
	return root, nil
}

// loader fills a configuration from a syntax tree. It does so instead of the
// YAML package's own decoder, which stops at the first error.
type loader struct {
	anchors  map[string]ast.Node
	places   map[string]string // of each field that was given, by its name in Go
	zeros    []reflect.Value   // numbers and durations that were given as zero
	findings []finding
}

// Visit collects anchors.
func (l *loader) Visit(n ast.Node) ast.Visitor {
	if a, ok := n.(*ast.AnchorNode); ok {
		l.anchors[a.Name.String()] = a.Value
	}
	return l
}

// resolve follows aliases and leaves out anchors and tags.
func (l *loader) resolve(n ast.Node) ast.Node {
	for range 16 { // an alias may lead to itself
		switch t := n.(type) {
		case *ast.AnchorNode:
			n = t.Value
		case *ast.AliasNode:
			n = l.anchors[t.Value.String()]
		case *ast.TagNode:
			n = t.Value
		default:
			return n
		}
	}
	return nil
}

// object fills a struct from a mapping. goPath and yamlPath are what leads to it,
// each with a trailing dot unless empty.
func (l *loader) object(dst reflect.Value, n ast.Node, goPath, yamlPath string) {
	at := place(n.GetToken())
	n = l.resolve(n)
	mapping, ok := n.(*ast.MappingNode)
	if _, null := n.(*ast.NullNode); null {
		return
	} else if !ok {
		l.refuse(cmp.Or(strings.TrimSuffix(yamlPath, "."), "YAML"), at, show(n), "a mapping of "+fieldNames(dst.Type()))
		return
	}
	for _, e := range mapping.Values {
		name := keyName(e.Key)
		at := place(e.Key.GetToken())
		f, ok := fieldByTag(dst.Type(), name)
		if !ok {
			l.refuse(yamlPath+name, at, "unknown field", suggest(dst.Type(), name))
			continue
		}
		l.places[goPath+f.Name] = yamlPath + name + ", " + at
		if f.Type.Kind() == reflect.Struct {
			l.object(dst.FieldByIndex(f.Index), e.Value, goPath+f.Name+".", yamlPath+name+".")
			continue
		}
		value, field := l.resolve(e.Value), dst.FieldByIndex(f.Index)
		_, null := value.(*ast.NullNode)
		if want := set(field, value); want != "" {
			l.refuse(yamlPath+name, at, show(value), want)
		} else if !null && field.IsZero() && (field.CanInt() || field.CanFloat()) {
			l.zeros = append(l.zeros, field)
		}
	}
}

func (l *loader) refuse(field, where, value, want string) {
	l.findings = append(l.findings, finding{field: field, where: where, value: value, want: want})
}

// merge adds what Validate found, with the place of each field that the file
// gave. Fields that could not be read have their finding already.
func (l *loader) merge(read, validated []finding) []finding {
	failed := make(map[string]bool, len(read))
	for _, f := range read {
		failed[f.field+", "+f.where] = true
	}
	for _, f := range validated {
		f.where = l.places[f.field]
		if !failed[f.where] {
			read = append(read, f)
		}
	}
	return read
}

// set gives a field its value and returns what it wants instead of a value that
// does not fit. A null leaves it alone.
func set(dst reflect.Value, n ast.Node) (want string) {
	if _, null := n.(*ast.NullNode); null {
		return ""
	}
	text, plain, ok := scalar(n)
	if dst.Type() == reflect.TypeFor[time.Duration]() {
		d, err := time.ParseDuration(text)
		if !ok || err != nil {
			return "a duration with its unit, such as 500ms, 30s or 1h30m"
		}
		dst.SetInt(int64(d))
		return ""
	}
	switch dst.Kind() {
	case reflect.Pointer:
		value := reflect.New(dst.Type().Elem())
		if want = set(value.Elem(), n); want == "" {
			dst.Set(value)
		}
		return want
	case reflect.Map:
		return setTexts(dst, n)
	case reflect.String:
		if !ok {
			return "a text"
		}
		dst.SetString(text)
	case reflect.Int:
		i, err := strconv.ParseInt(text, 0, strconv.IntSize)
		if !plain || err != nil {
			return "a whole number"
		}
		dst.SetInt(i)
	case reflect.Float64:
		f, err := strconv.ParseFloat(text, 64)
		switch t := n.(type) { // numbers that YAML spells otherwise; Validate refuses them
		case *ast.InfinityNode:
			f, err = t.Value, nil
		case *ast.NanNode:
			f, err = math.NaN(), nil
		}
		if !plain || err != nil {
			return "a number"
		}
		dst.SetFloat(f)
	default:
		panic("parti: LoadConfig cannot set a " + dst.Type().String()) // a new kind of field
	}
	return ""
}

// setTexts fills a map of texts.
func setTexts(dst reflect.Value, n ast.Node) (want string) {
	const texts = "a mapping of texts"
	mapping, ok := n.(*ast.MappingNode)
	if !ok {
		return texts
	}
	var m map[string]string
	if len(mapping.Values) > 0 {
		m = make(map[string]string, len(mapping.Values))
	}
	for _, e := range mapping.Values {
		text, _, ok := scalar(e.Value)
		name := keyName(e.Key)
		if _, twice := m[name]; !ok || twice {
			return texts + ", each key once"
		}
		m[name] = text
	}
	dst.Set(reflect.ValueOf(m))
	return ""
}

// scalar returns the text of a single value and whether it was written plainly,
// without quotes.
func scalar(n ast.Node) (text string, plain, ok bool) {
	switch t := n.(type) {
	case *ast.StringNode:
		return t.Value, t.Token.Type == token.StringType, true
	case *ast.LiteralNode:
		return strings.TrimSuffix(t.Value.Value, "\n"), false, true
	case *ast.IntegerNode, *ast.FloatNode, *ast.BoolNode, *ast.InfinityNode, *ast.NanNode:
		return n.GetToken().Value, true, true
	}
	return "", false, false
}

// show describes a value for an error.
func show(n ast.Node) string {
	text, plain, ok := scalar(n)
	switch {
	case ok && plain && len(text) <= 40:
		return text
	case ok:
		return quoteShort(text)
	case n == nil:
		return "an alias without a value"
	}
	return "a " + strings.ToLower(n.Type().String())
}

func keyName(k ast.MapKeyNode) string {
	switch t := k.(type) {
	case *ast.StringNode:
		return t.Value
	case *ast.MappingKeyNode: // "? key"
		if t.Value != nil {
			return t.Value.GetToken().Value
		}
	}
	return k.GetToken().Value
}

func place(t *token.Token) string {
	if t == nil || t.Position == nil {
		return "line ?"
	}
	return fmt.Sprintf("line %d", t.Position.Line)
}

func fieldByTag(t reflect.Type, name string) (reflect.StructField, bool) {
	for f := range t.Fields() {
		if f.IsExported() && f.Tag.Get("yaml") == name {
			return f, true
		}
	}
	return reflect.StructField{}, false
}

// suggest names the field that was probably meant, or all there are.
func suggest(t reflect.Type, name string) string {
	plain := strings.NewReplacer("_", "", "-", "").Replace(name)
	for f := range t.Fields() {
		if tag := f.Tag.Get("yaml"); f.IsExported() && strings.EqualFold(tag, plain) {
			return tag
		}
	}
	return "one of " + fieldNames(t)
}

func fieldNames(t reflect.Type) string {
	var names []string
	for f := range t.Fields() {
		if f.IsExported() {
			names = append(names, f.Tag.Get("yaml"))
		}
	}
	return strings.Join(names, ", ")
}
