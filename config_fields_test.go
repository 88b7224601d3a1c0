package parti

import (
	"errors"
	"math"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/arloliu/parti/internal/core"
)

// The tests of this file walk over the fields of Config, nested ones included, so
// that a field which is added without being used fails them.

// leaf is a field of Config that is no struct.
type leaf struct {
	path  string // as in Go: "KVBucket.Replicas"
	yaml  string // as in YAML: "kvBucket.replicas"
	index []int
}

func (l leaf) of(cfg *Config) reflect.Value { return reflect.ValueOf(cfg).Elem().FieldByIndex(l.index) }

func leaves(t *testing.T) []leaf {
	t.Helper()
	var all []leaf
	var walk func(typ reflect.Type, at leaf)
	walk = func(typ reflect.Type, at leaf) {
		for f := range typ.Fields() {
			if !f.IsExported() {
				continue
			}
			tag := f.Tag.Get("yaml")
			if tag == "" {
				t.Errorf("%s%s has no yaml tag", at.path, f.Name)
			}
			next := leaf{at.path + f.Name, at.yaml + tag, slices.Concat(at.index, f.Index)}
			if f.Type.Kind() == reflect.Struct {
				next.path += "."
				next.yaml += "."
				walk(f.Type, next)
				continue
			}
			all = append(all, next)
		}
	}
	walk(reflect.TypeFor[Config](), leaf{})
	if len(all) < 30 {
		t.Fatalf("found only %d fields", len(all))
	}
	return all
}

// change gives a field another valid value than it has in DefaultConfig.
func change(t *testing.T, v reflect.Value) {
	t.Helper()
	switch p := v.Addr().Interface().(type) {
	case *time.Duration:
		*p += time.Second
	case *int:
		*p++
	case *float64:
		*p /= 2
	case **float64:
		*p = new(0.25)
	case *map[string]string:
		*p = map[string]string{"zone": "a"}
	case *string:
		*p += "x"
	case *Ownership:
		*p = OwnershipExclusive
	case *Storage:
		*p = StorageMemory
	default:
		t.Fatalf("a field of type %s: tell this test how to change it", v.Type())
	}
}

// spoil gives a field an invalid value.
func spoil(t *testing.T, v reflect.Value) {
	t.Helper()
	switch v.Kind() {
	case reflect.Int64, reflect.Int:
		v.SetInt(-1)
	case reflect.Float64:
		v.SetFloat(math.NaN())
	case reflect.Pointer:
		v.Set(reflect.ValueOf(new(-1.0)))
	case reflect.Map:
		v.Set(reflect.ValueOf(map[string]string{"": "x"}))
	case reflect.String:
		v.SetString("not\nvalid")
	default:
		t.Fatalf("a field of type %s: tell this test how to spoil it", v.Type())
	}
}

// ofManager are the fields that the manager itself handles and the core does not
// know.
var ofManager = []string{
	"KVBucket.StableIDBucket", "KVBucket.ElectionBucket", "KVBucket.HeartbeatBucket", "KVBucket.AssignmentBucket",
	"KVBucket.Replicas", "KVBucket.Storage",
}

func TestEveryFieldReachesTheCore(t *testing.T) {
	defaults := reflect.ValueOf(DefaultConfig().core())
	reached := make(map[string]bool) // fields of core.Config
	for _, l := range leaves(t) {
		cfg := DefaultConfig()
		change(t, l.of(cfg))
		got := reflect.ValueOf(cfg.core())
		differs := false
		for f := range got.Type().Fields() {
			if !reflect.DeepEqual(got.FieldByIndex(f.Index).Interface(), defaults.FieldByIndex(f.Index).Interface()) {
				reached[f.Name], differs = true, true
			}
		}
		if differs == slices.Contains(ofManager, l.path) {
			t.Errorf("%s: changes core() = %v, listed in ofManager = %v", l.path, differs, !differs)
		}
	}
	leftToManager := []string{"Agent", "Host", "Process", "Buckets"}
	for f := range reflect.TypeFor[core.Config]().Fields() {
		if reached[f.Name] == slices.Contains(leftToManager, f.Name) {
			t.Errorf("core.Config.%s: set from Config = %v", f.Name, reached[f.Name])
		}
	}
}

func TestCoreAlertThresholdsByLevel(t *testing.T) {
	got := DefaultConfig().core().AlertThresholds
	want := [...]time.Duration{
		core.AlertInfo: time.Minute, core.AlertWarn: 5 * time.Minute,
		core.AlertError: 15 * time.Minute, core.AlertCritical: 30 * time.Minute,
	}
	if got != want {
		t.Errorf("got %v, want %v", got, want)
	}
}

func TestGroupFollowsPrefix(t *testing.T) {
	cfg := DefaultConfig() // "call SetDefaults before customization"
	cfg.WorkerIDPrefix = "orders"
	if g := cfg.core().Group; g != "orders" {
		t.Errorf("group is %q: two services that set their prefix after the defaults would share it", g)
	}
	cfg.Group = "eu"
	if g := cfg.core().Group; g != "eu" {
		t.Errorf("group is %q", g)
	}
}

func TestValidateJudgesEveryField(t *testing.T) {
	for _, l := range leaves(t) {
		cfg := DefaultConfig()
		spoil(t, l.of(cfg))
		if got := fieldsOf(t, cfg.Validate()); !slices.Contains(got, l.path) {
			t.Errorf("%s = %v: found %v", l.path, l.of(cfg), got)
		}
	}
}

func TestValidateReportsAllAtOnce(t *testing.T) {
	cfg := DefaultConfig()
	all := leaves(t)
	for _, l := range all {
		spoil(t, l.of(cfg))
	}
	err := cfg.Validate()
	got := fieldsOf(t, err)
	for _, l := range all {
		if !slices.Contains(got, l.path) {
			t.Errorf("%s is missing", l.path)
		}
		if !strings.Contains(err.Error(), "\n\t"+l.path+": ") {
			t.Errorf("the text does not name %s:\n%v", l.path, err)
		}
	}
}

func TestSetDefaultsFillsOnlyZeros(t *testing.T) {
	staysZero := []string{"WorkerIDMin", "RefreshInterval", "Group", "App", "Labels", "Assignment.MaxMovesPerPlan"}
	for _, l := range leaves(t) {
		cfg := &Config{}
		SetDefaults(cfg)
		if zero := l.of(cfg).IsZero(); zero != slices.Contains(staysZero, l.path) {
			t.Errorf("%s is %v by default", l.path, l.of(cfg))
		}
		*cfg = Config{}
		change(t, l.of(cfg))
		if l.of(cfg).IsZero() { // a float
			l.of(cfg).SetFloat(0.25)
		}
		want := l.of(cfg).Interface()
		SetDefaults(cfg)
		if got := l.of(cfg).Interface(); !reflect.DeepEqual(got, want) {
			t.Errorf("%s was %v and became %v", l.path, want, got)
		}
	}
}

// fieldsOf returns the fields that an error of Validate is about.
func fieldsOf(t *testing.T, err error) []string {
	t.Helper()
	if err == nil {
		return nil
	}
	if !errors.Is(err, ErrInvalidConfig) {
		t.Fatalf("not ErrInvalidConfig: %v", err)
	}
	invalid, ok := errors.AsType[*configError](err)
	if !ok {
		t.Fatalf("a %T", err)
	}
	var fields []string
	for _, f := range invalid.findings {
		fields = append(fields, f.field)
	}
	return fields
}
