package guidecheck

import (
	"errors"
	"fmt"
	"go/ast"
	"go/importer"
	"go/parser"
	"go/token"
	"go/types"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/arloliu/parti"
)

// The files of snippetDir hold every Go snippet of the first edition of the user
// guide, word for word. Programs were written after it, so each must go on
// compiling: as printed, but for the slips named below.
const snippetDir = "internal/guidecheck/testdata/contract/"

func readContract(t *testing.T, name string) string {
	t.Helper()
	return readFile(t, snippetDir+name+".go.txt")
}

// A slip is a piece of a printed snippet that cannot compile, and what the
// guide says instead.
type slip struct{ printed, corrected string }

// A contractSnippet tells what stands around a fragment where it is used.
type contractSnippet struct {
	// form turns the fragment into declarations or statements; nil when it is
	// one or the other already.
	form func(string) string
	// decls are declarations of the application, beside the snippet.
	decls string
	// params declares the variables that a fragment of statements uses. A
	// fragment without is made of declarations.
	params string
	// slips are corrected before the check, which fails without each of them.
	slips []slip
	// pending names a package that the snippet needs and that is not there yet.
	pending string
}

const (
	forManager = "cfg *parti.Config, src parti.PartitionSource, strategy parti.AssignmentStrategy, nc *nats.Conn"
	useManager = "mgr *parti.Manager"
	useConfig  = "cfg *parti.Config"
	noParams   = " "
)

var contract = map[string]contractSnippet{
	"01_quick_start": {
		form: wholeFile,
		slips: []slip{{
			`    "github.com/nats-io/nats.go"` + "\n",
			`    "github.com/nats-io/nats.go"` + "\n" + `    "github.com/nats-io/nats.go/jetstream"` + "\n",
		}},
	},
	"02_config_struct":       {decls: "type KVBucketConfig = parti.KVBucketConfig"},
	"03_set_defaults":        {params: noParams},
	"04_config_development":  {params: noParams},
	"05_config_production":   {params: noParams},
	"06_start":               {params: useManager},
	"07_stop":                {params: useManager},
	"08_status":              {params: useManager},
	"09_refresh":             {params: useManager},
	"10_consistent_hash":     {params: noParams},
	"11_round_robin":         {params: noParams},
	"12_custom_strategy":     {decls: "var _ parti.AssignmentStrategy = (*CustomStrategy)(nil)"},
	"13_static_source":       {params: noParams},
	"14_custom_source":       {decls: "var _ parti.PartitionSource = (*DatabasePartitionSource)(nil)"},
	"15_partition_struct":    {},
	"16_partition_literals":  {form: partitionLiterals, params: noParams},
	"17_hooks_struct":        {decls: "type (\n Partition = parti.Partition\n State = parti.State\n)"},
	"18_hook_assignment":     {params: "metrics interface{ RecordAssignmentDelta(added, removed []parti.Partition) }"},
	"19_hook_state":          {params: noParams},
	"20_hook_error":          {params: "reportError func(error)"},
	"21_errors":              {form: errorExpressions, params: noParams},
	"22_errors_startup":      {params: forManager},
	"23_errors_runtime":      {params: "sendAlert func(string)"},
	"24_degraded_behavior":   {params: useConfig},
	"25_degraded_alert":      {params: useConfig},
	"26_degraded_presets":    {params: useConfig},
	"28_degraded_metrics":    {decls: fullCollector},
	"29_degraded_test":       {params: useManager + ", t *testing.T"},
	"30_shutdown":            {params: useManager},
	"31_pattern_environment": {params: "getEnvInt func(string, int) int"},
	"32_pattern_durable": {
		params: "cfg *parti.Config, src parti.PartitionSource, strategy parti.AssignmentStrategy, nc *nats.Conn, " +
			"metrics interface{ RecordAssignmentDelta(added, removed []parti.Partition) }",
	},
	"33_pattern_database":    {form: refreshLoop, decls: "var _ parti.PartitionSource = (*DBPartitionSource)(nil)"},
	"34_trouble_start":       {params: useConfig + ", nc *nats.Conn"},
	"35_trouble_rebalancing": {params: useConfig},
	"27_degraded_hook": {
		// log.Warn and log.Info are not the standard logger's: log is the
		// application's own.
		params: `log interface{ Warn(string, ...any); Info(string, ...any) },
			pagerDuty interface{ Alert(string, ...any) }, slack interface{ Notify(string, string, ...any) }`,
	},
	"36_trouble_election_agent": {
		params: forManager + ", NewConsulElectionAgent func(any) parti.ElectionAgent, consulClient any",
		slips:  []slip{{"mgr := parti.NewManager(", "mgr, err := parti.NewManager("}},
	},
	"37_trouble_slow": {
		params: "nc *nats.Conn",
		slips: []slip{
			{"strategy := strategy.NewConsistentHash()\n", "plain := strategy.NewConsistentHash()\n"},
			{`log.Printf("NATS RTT: %v", nc.RTT())`, "rtt, err := nc.RTT()\nlog.Printf(\"NATS RTT: %v\", rtt)"},
		},
	},
}

// fullCollector checks that the methods of the snippet are those of the
// interface: they hide the embedded ones, which lie deeper.
const fullCollector = `
type rest struct{ parti.NopMetrics }

var _ parti.MetricsCollector = struct {
	*PrometheusCollector
	rest
}{}
`

const header = `package snippet

import (
	"context"
	"database/sql"
	"errors"
	"log"
	"os"
	"os/signal"
	"syscall"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/assert"

	"github.com/arloliu/parti"
	"github.com/arloliu/parti/source"
	"github.com/arloliu/parti/strategy"
	"github.com/arloliu/parti/subscription"
)
`

// strangers are packages that snippets import and parti does not: as much of
// them as the snippets use.
var strangers = map[string]string{
	"github.com/prometheus/client_golang/prometheus": `package prometheus
		type Gauge interface{ Set(float64) }
		type Counter interface{ Inc() }
		type Histogram interface{ Observe(float64) }
		type CounterVec struct{}
		func (*CounterVec) WithLabelValues(...string) Counter { return nil }`,
	"github.com/stretchr/testify/assert": `package assert
		func Equal(t interface{ Errorf(string, ...any) }, want, got any, msg ...any) bool { return true }`,
}

func wholeFile(s string) string { return s }

// partitionLiterals makes a list of composite literals a value.
func partitionLiterals(s string) string {
	return "_ = []parti.Partition{\n" + regexp.MustCompile(`(?m)\}$`).ReplaceAllString(s, "},") + "}\n"
}

func errorExpressions(s string) string {
	return regexp.MustCompile(`(?m)^parti\.\w+`).ReplaceAllString(s, "_ = error($0)")
}

// refreshLoop puts the statements below the declarations into a function.
func refreshLoop(s string) string {
	decls, loop, _ := strings.Cut(s, "// Refresh periodically\n")
	return decls + "func refresh(ctx context.Context, mgr *parti.Manager) {\n" + loop + "}\n"
}

func (c contractSnippet) file(printed string) string {
	text := printed
	if c.form != nil {
		text = c.form(text)
	}
	switch {
	case strings.HasPrefix(text, "package "):
		return text
	case c.params != "":
		text = fmt.Sprintf("func snippet(%s) {\n%s}\n", c.params, text)
	}
	return header + c.decls + "\n" + text
}

func TestContractSnippetsCompile(t *testing.T) {
	files, err := filepath.Glob(snippetDir + "*.go.txt")
	if err != nil || len(files) != len(contract) {
		t.Fatalf("found %d files of snippets (%v), know %d", len(files), err, len(contract))
	}
	check := newChecker(t)
	for _, path := range files {
		name := strings.TrimSuffix(filepath.Base(path), ".go.txt")
		t.Run(name, func(t *testing.T) {
			c, ok := contract[name]
			if !ok {
				t.Fatal("unknown snippet")
			}
			if c.pending != "" {
				if _, err := os.Stat(c.pending); err == nil {
					t.Fatalf("package %s is there: say what the snippet needs, and show it in the guide", c.pending)
				}
				return
			}
			text := readContract(t, name)
			for _, s := range c.slips {
				// With all others corrected, this one alone must not compile.
				rest := text
				for _, o := range c.slips {
					if o != s {
						rest = replaceOnce(t, rest, o)
					}
				}
				if _, err := check.file(c.file(rest)); err == nil {
					t.Errorf("compiles as printed, yet is corrected: %q", s.printed)
				}
			}
			for _, s := range c.slips {
				text = replaceOnce(t, text, s)
			}
			if _, err := check.file(c.file(text)); err != nil {
				t.Errorf("does not compile: %v", err)
			}
		})
	}
}

// The structs that the contract prints are ours, with fields added.
func TestContractStructs(t *testing.T) {
	check := newChecker(t)
	ours, err := check.Import("github.com/arloliu/parti")
	if err != nil {
		t.Fatal(err)
	}
	for name, structs := range map[string][]string{
		"02_config_struct":    {"Config", "AssignmentConfig"},
		"15_partition_struct": {"Partition"},
		"17_hooks_struct":     {"Hooks"},
	} {
		pkg, err := check.file(contract[name].file(readContract(t, name)))
		if err != nil {
			t.Fatal(err)
		}
		for _, s := range structs {
			printed := pkg.Scope().Lookup(s).Type().Underlying().(*types.Struct)
			fields := map[string]string{}
			for f := range ours.Scope().Lookup(s).Type().Underlying().(*types.Struct).Fields() {
				fields[f.Name()] = typeName(f.Type())
			}
			for f := range printed.Fields() {
				if got, want := fields[f.Name()], typeName(f.Type()); got != want {
					t.Errorf("%s.%s is %q, was promised as %q", s, f.Name(), got, want)
				}
			}
		}
	}
}

func typeName(t types.Type) string {
	return types.TypeString(t, func(p *types.Package) string {
		if p.Path() == "snippet" || p.Path() == "github.com/arloliu/parti" {
			return ""
		}
		return p.Path()
	})
}

// The defaults that the contract prints beside the fields are ours.
func TestContractDefaults(t *testing.T) {
	text := readContract(t, "02_config_struct")
	line := regexp.MustCompile(`(?m)^ +(\w+) .*\(default: (.+)\)$`)
	promised := line.FindAllStringSubmatch(text, -1)
	if len(promised) != 15 {
		t.Errorf("found %d defaults, not 15", len(promised))
	}
	cfg := reflect.ValueOf(*parti.DefaultConfig())
	for _, m := range promised {
		field := cfg.FieldByName(m[1])
		if !field.IsValid() {
			field = cfg.FieldByName("Assignment").FieldByName(m[1])
		}
		if !isSetting(field, m[2]) {
			t.Errorf("%s defaults to %v, was promised as %s", m[1], field, m[2])
		}
	}
}

// isSetting tells whether a setting has the value that a document prints.
func isSetting(v reflect.Value, printed string) bool {
	if d, ok := reflect.TypeAssert[time.Duration](v); ok {
		want, err := time.ParseDuration(printed)
		return err == nil && d == want
	}
	return fmt.Sprint(v.Interface()) == strings.Trim(printed, `"`)
}

// A checker type-checks single files against the packages of this module.
type checker struct {
	fset     *token.FileSet
	compiled types.Importer
	strange  map[string]*types.Package
}

func newChecker(t *testing.T) *checker {
	t.Helper()
	paths := []string{"list", "-export", "-deps", "-f", "{{if .Export}}{{.ImportPath}}\t{{.Export}}{{end}}", ".", "./source", "./strategy", "./subscription"}
	f, err := parser.ParseFile(token.NewFileSet(), "", header, parser.ImportsOnly)
	if err != nil {
		t.Fatal(err)
	}
	for _, i := range f.Imports {
		path, _ := strconv.Unquote(i.Path.Value)
		if strangers[path] == "" && !strings.HasPrefix(path, "github.com/arloliu/parti") {
			paths = append(paths, path)
		}
	}
	out, err := exec.CommandContext(t.Context(), "go", paths...).Output()
	if err != nil {
		if exit, ok := errors.AsType[*exec.ExitError](err); ok {
			t.Logf("%s", exit.Stderr)
		}
		t.Fatalf("list compiled packages: %v", err)
	}
	exports := map[string]string{}
	for line := range strings.Lines(string(out)) {
		if path, file, ok := strings.Cut(strings.TrimSpace(line), "\t"); ok {
			exports[path] = file
		}
	}
	c := &checker{fset: token.NewFileSet(), strange: map[string]*types.Package{}}
	c.compiled = importer.ForCompiler(c.fset, "gc", func(path string) (io.ReadCloser, error) {
		return os.Open(exports[path])
	})
	for path, src := range strangers {
		if c.strange[path], err = c.file(src); err != nil {
			t.Fatal(err)
		}
	}
	return c
}

func (c *checker) Import(path string) (*types.Package, error) {
	if p, ok := c.strange[path]; ok {
		return p, nil
	}
	return c.compiled.Import(path)
}

var unused = regexp.MustCompile(`(declared|imported( as \w+)?) and not used`)

// file reports everything that is wrong with a file but for what it declares or
// imports and does not use, since a fragment goes on where the guide stops. A
// whole program does not.
func (c *checker) file(src string) (*types.Package, error) {
	f, err := parser.ParseFile(c.fset, "snippet.go", src, parser.SkipObjectResolution)
	if err != nil {
		return nil, err
	}
	var found []error
	conf := types.Config{Importer: c, Error: func(err error) {
		if f.Name.Name == "main" || !unused.MatchString(err.Error()) {
			found = append(found, err)
		}
	}}
	pkg, _ := conf.Check(f.Name.Name, c.fset, []*ast.File{f}, nil)
	return pkg, errors.Join(found...)
}

func readFile(t *testing.T, path string) string {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func replaceOnce(t *testing.T, text string, s slip) string {
	t.Helper()
	if n := strings.Count(text, s.printed); n != 1 {
		t.Fatalf("%q stands there %d times", s.printed, n)
	}
	return strings.Replace(text, s.printed, s.corrected, 1)
}
