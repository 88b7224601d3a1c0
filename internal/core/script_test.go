package core

import (
	"flag"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

var update = flag.Bool("update", false, "rewrite the golden files of testdata")

// TestScripts plays the transcripts in testdata/*.txt. A line that begins with
// '>' is a command; what follows, up to a blank line, a comment or the next
// command, is what happened because of it.
func TestScripts(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txt")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		if filepath.Base(file) == "table.txt" {
			continue
		}
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txt"), func(t *testing.T) {
			t.Parallel()
			golden(t, file, play)
		})
	}
}

// golden compares a file with what make makes of it.
func golden(t *testing.T, file string, remake func(t *testing.T, text string) string) {
	t.Helper()
	b, err := os.ReadFile(file)
	if err != nil && !*update {
		t.Fatal(err)
	}
	got := remake(t, string(b))
	if got == string(b) {
		return
	}
	if *update {
		if err := os.WriteFile(file, []byte(got), 0o600); err != nil {
			t.Fatal(err)
		}
		return
	}
	t.Errorf("%s differs; see the change with -update and git diff\n%s", file, firstDifference(string(b), got))
}

func firstDifference(want, got string) string {
	w, g := strings.Split(want, "\n"), strings.Split(got, "\n")
	for i := range max(len(w), len(g)) {
		if i >= len(w) || i >= len(g) || w[i] != g[i] {
			return fmt.Sprintf("line %d\nwant:\n%s\ngot:\n%s", i+1,
				strings.Join(w[min(i, len(w)):min(i+8, len(w))], "\n"), strings.Join(g[min(i, len(g)):min(i+8, len(g))], "\n"))
		}
	}
	return ""
}

// play runs the commands of a transcript and writes it anew.
func play(t *testing.T, text string) string {
	t.Helper()
	s := &script{world: newWorld(), cfg: testConfig()}
	var out strings.Builder
	skipping := false
	for line := range strings.Lines(text) {
		line = strings.TrimRight(line, "\n")
		switch {
		case strings.HasPrefix(line, ">"):
			skipping = true
			out.WriteString(line + "\n")
			if err := s.do(strings.Fields(line[1:])); err != nil {
				t.Fatalf("%s: %v", line, err)
			}
			out.WriteString(s.trace.String())
			s.trace.Reset()
		case line == "", strings.HasPrefix(line, "#"):
			skipping = false
			out.WriteString(line + "\n")
		case !skipping:
			t.Fatalf("what is %q?", line)
		}
	}
	return out.String()
}

type script struct {
	*world
	cfg    Config // of the cores to come
	digest string // of the last value that a foreign hand wrote, written DIGEST in the next one
}

// do runs one command.
func (s *script) do(args []string) error {
	cmd, args := args[0], args[1:]
	if f, ok := fleetCommands[cmd]; ok {
		return f(s, args)
	}
	if len(args) == 0 {
		return fmt.Errorf("no such command, or no worker named")
	}
	if f, ok := nodeCommands[cmd]; ok {
		for name := range strings.SplitSeq(args[0], ",") {
			if err := f(s.node(name), args[1:]); err != nil {
				return err
			}
		}
		return nil
	}
	return fmt.Errorf("no such command")
}

// fleetCommands are about the world.
var fleetCommands = map[string]func(*script, []string) error{
	// config Field=value ...: of the cores to come
	"config": func(s *script, args []string) error { return configure(&s.cfg, args) },
	// new NAMES Field=value ...: cores
	"new": func(s *script, args []string) error {
		for name := range strings.SplitSeq(args[0], ",") {
			cfg := s.cfg
			if err := configure(&cfg, args[1:]); err != nil {
				return err
			}
			s.add(name, cfg)
		}
		return nil
	},
	// start NAMES Field=value ...: new cores, started
	"start": func(s *script, args []string) error {
		for name := range strings.SplitSeq(args[0], ",") {
			cfg := s.cfg
			if err := configure(&cfg, args[1:]); err != nil {
				return err
			}
			n := s.add(name, cfg)
			n.tell(Connected{Server: n.server, Allowance: time.Second, MaxPayload: s.maxPayload})
			n.start()
		}
		return nil
	},
	"run": func(s *script, args []string) error {
		d, err := time.ParseDuration(args[0])
		s.run(d)
		return err
	},
	// show KINDS: kv, watch, source, log, measure in the transcript from now on
	"show": func(s *script, args []string) error {
		clear(s.shows)
		for _, a := range args {
			s.shows[a] = true
		}
		return nil
	},
	// list p1 p2:300 ...: what all sources list
	"list": func(s *script, args []string) error { s.list = testList(args...); return nil },
	// owners: who works on what
	"owners": func(s *script, _ []string) error { s.owners(); return nil },
	// state: of all cores
	"state": func(s *script, _ []string) error {
		for _, n := range s.nodes {
			if !n.dead {
				n.state()
			}
		}
		return nil
	},
	// keys BUCKET: what is in the store
	"keys": func(s *script, args []string) error {
		for b, name := range bucketNames {
			if len(args) > 0 && args[0] != name {
				continue
			}
			for _, key := range s.kv.Keys(b) {
				e, err := s.kv.Get(b, key)
				if err != nil {
					return err
				}
				s.printf("--", "%s %s %s", name, strings.TrimPrefix(key, "g."), renderValue(key, e.Val))
			}
		}
		return nil
	},
	// raw BUCKET KEY: a value as it is in the store
	"raw": func(s *script, args []string) error {
		e, err := s.kv.Get(slices.Index(bucketNames[:], args[0]), "g."+args[1])
		if err != nil {
			return err
		}
		val, err := Readable(e.Val)
		s.printf("--", "%s", val)
		return err
	},
	// put BUCKET KEY VALUE: a foreign hand writes
	"put": func(s *script, args []string) error {
		b := slices.Index(bucketNames[:], args[0])
		key, val := "g."+args[1], []byte(strings.ReplaceAll(strings.Join(args[2:], " "), "DIGEST", s.digest))
		s.digest = digest(val).String()
		if e, err := s.kv.Get(b, key); err == nil {
			_, err = s.kv.Update(b, key, val, e.Rev)
			s.wakeWatches()
			return err
		}
		_, err := s.kv.Create(b, key, val)
		s.wakeWatches()
		return err
	},
	// wipe BUCKETS: each is deleted and made anew
	"wipe": func(s *script, args []string) error {
		for _, a := range args {
			s.kv.Wipe(slices.Index(bucketNames[:], a))
		}
		s.wakeWatches()
		return nil
	},
	// save: the state of all buckets, for rollback
	"save": func(s *script, _ []string) error { s.saved = s.kv.Snapshot(); return nil },
	"rollback": func(s *script, _ []string) error {
		s.kv.Rollback(s.saved)
		s.wakeWatches()
		return nil
	},
	// del BUCKET KEY: a foreign hand deletes
	"del": func(s *script, args []string) error {
		b := slices.Index(bucketNames[:], args[0])
		e, err := s.kv.Get(b, "g."+args[1])
		if err != nil {
			return err
		}
		defer s.wakeWatches()
		return s.kv.Delete(b, "g."+args[1], e.Rev)
	},
}

// nodeCommands are about one core.
var nodeCommands = map[string]func(*node, []string) error{
	"begin":  func(n *node, _ []string) error { n.start(); return nil },
	"stop":   func(n *node, _ []string) error { n.tell(Stop{}); return nil },
	"abort":  func(n *node, _ []string) error { n.tell(Abort{}); return nil },
	"kill":   func(n *node, _ []string) error { n.dead = true; clear(n.running); return nil },
	"pause":  func(n *node, _ []string) error { n.paused = true; return nil },
	"resume": func(n *node, _ []string) error { n.resume(); return nil },
	"state":  func(n *node, _ []string) error { n.state(); return nil },
	// refresh NAME ID
	"refresh": func(n *node, args []string) error {
		id, err := strconv.ParseUint(args[0], 10, 64)
		n.tell(Refresh{ID: id})
		return err
	},
	// announce NAME: its source announces a change
	"announce": func(n *node, _ []string) error { n.tell(ListChanged{}); return nil },
	"disconnect": func(n *node, _ []string) error {
		n.up = false
		n.tell(Disconnected{})
		return nil
	},
	// connect NAME [SERVER], where - is one without a name
	"connect": func(n *node, args []string) error {
		if len(args) > 0 {
			n.server = strings.TrimPrefix(args[0], "-")
		}
		n.up, n.silent = true, false
		n.tell(Connected{Server: n.server, Allowance: time.Second, MaxPayload: n.w.maxPayload})
		n.collect()
		return nil
	},
	// silence NAME: nothing passes any more, and the client does not notice
	"silence": func(n *node, _ []string) error { n.silent = true; return nil },
	"speak": func(n *node, _ []string) error {
		n.silent = false
		n.collect()
		return nil
	},
	// fault NAME MODE COUNT VERB KEY: of the next operations that match, or of the
	// making of watches (VERB watch, KEY the filter, MODE any); MODE is
	// fail, lost (done, unanswered), unsent (not done, unanswered), late (done
	// by land, unanswered), slow (done, answered by land) or hold (done and
	// answered by land)
	"fault": func(n *node, args []string) error {
		count, err := strconv.Atoi(args[1])
		n.faults = append(n.faults, &fault{mode: args[0], count: count, pattern: args[2] + " " + args[3]})
		return err
	},
	"nofaults": func(n *node, _ []string) error { n.faults = nil; return nil },
	"land": func(n *node, _ []string) error {
		for _, f := range n.held {
			f()
		}
		n.held = nil
		return nil
	},
	// losewatch NAME FILTER
	"losewatch": func(n *node, args []string) error {
		for id, f := range n.filters {
			if w := n.watches[id]; w != nil && f == "g."+args[0] {
				w.Lose()
			}
		}
		n.collect()
		return nil
	},
	// sourceof NAME p1 p2 ...|broken|well
	"sourceof": func(n *node, args []string) error {
		switch args[0] {
		case "broken":
			n.sourceBad = true
		case "well":
			n.sourceBad, n.list = false, nil
		default:
			n.list = testList(args...)
		}
		return nil
	},
	// strategy NAME broken|well
	"strategy": func(n *node, args []string) error { n.planBad = args[0] == "broken"; return nil },
	// slow NAME: plans are not answered until "plans"
	"slow": func(n *node, _ []string) error { n.planSlow = true; return nil },
	"plans": func(n *node, _ []string) error {
		n.planSlow = false
		for _, p := range n.plans {
			n.tell(Done{Op: p.Op, Owners: balance(p)})
		}
		n.plans = nil
		return nil
	},
	// agent NAME yes|no|error|hold
	"agent": func(n *node, args []string) error { n.agent = args[0]; return nil },
	// agentsays NAME yes|no: to what is held
	"agentsays": func(n *node, args []string) error {
		for _, e := range n.agentAsked {
			n.tell(Done{Op: e.Op, Yes: args[0] == "yes"})
		}
		n.agentAsked = nil
		return nil
	},
	// dead NAME ID ...: what the operating system will prove dead
	"dead": func(n *node, args []string) error { n.proved = args; return nil },
	// busy NAME: assignments are not answered until "done"
	"busy": func(n *node, _ []string) error { n.holdApply = true; return nil },
	"done": func(n *node, _ []string) error { n.holdApply = false; n.finish(); return nil },
}

func (n *node) start() { n.tell(Start{Nonce: n.name, Seed: 1}) }

func (n *node) state() {
	s := n.core.Snapshot()
	text := s.State.String() + " " + s.Worker
	if s.Leader {
		text += " leads"
	}
	text += fmt.Sprintf(" at %d.%d %s", s.Term, s.Version, s.Lifecycle)
	if s.LeaseEnd != 0 {
		text += fmt.Sprintf(" lease until %.3f", s.LeaseEnd.Seconds())
	}
	n.w.printf(n.name, "%s", strings.TrimRight(text, " "))
}

func (w *world) owners() {
	for _, n := range w.nodes {
		if n.dead {
			continue
		}
		var s []string
		for _, id := range slices.Sorted(maps.Keys(n.running)) {
			s = append(s, id+"@"+version(n.running[id]).String())
		}
		w.printf(n.name, "works on %s", strings.Join(s, " "))
	}
}

// configure sets fields of a configuration by name.
func configure(cfg *Config, args []string) error {
	v := reflect.ValueOf(cfg).Elem()
	for _, a := range args {
		name, text, _ := strings.Cut(a, "=")
		f := v.FieldByName(name)
		if !f.IsValid() {
			return fmt.Errorf("no field %s", name)
		}
		switch p := f.Addr().Interface().(type) {
		case *time.Duration:
			d, err := time.ParseDuration(text)
			if err != nil {
				return err
			}
			*p = d
		case *string:
			*p = text
		case *int:
			i, err := strconv.Atoi(text)
			if err != nil {
				return err
			}
			*p = i
		case *float64:
			x, err := strconv.ParseFloat(text, 64)
			if err != nil {
				return err
			}
			*p = x
		case *bool:
			*p = text == "true"
		case *map[string]string:
			k, v, _ := strings.Cut(text, ":")
			*p = map[string]string{k: v}
		case *[NumBuckets]string:
			copy(p[:], strings.Split(text, "/"))
		case *[5]time.Duration: // info/warn/error/critical
			for i, s := range strings.Split(text, "/") {
				d, err := time.ParseDuration(s)
				if err != nil {
					return err
				}
				p[i+1] = d
			}
		case *Process: // boot/pid/start
			parts := strings.Split(text, "/")
			pid, err := strconv.Atoi(parts[1])
			if err != nil {
				return err
			}
			*p = Process{Boot: parts[0], PIDNS: "ns", PID: pid, Start: 1}
		default:
			return fmt.Errorf("field %s cannot be set by a script", name)
		}
	}
	return nil
}
