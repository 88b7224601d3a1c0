package parti

import (
	"os"
	"os/exec"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/arloliu/parti/internal/core"
)

func TestProcessDead(t *testing.T) {
	self := currentProcess()
	if self.Boot == "" || self.PIDNS == "" || self.PID != os.Getpid() || self.Start == 0 {
		t.Fatalf("this process: %+v", self)
	}
	if processDead(self, self) {
		t.Error("this process is dead")
	}
	cmd := exec.Command("sleep", "1000")
	if err := cmd.Start(); err != nil {
		t.Skip(err)
	}
	child := self
	child.PID = cmd.Process.Pid
	st, err := readProcStat(child.PID)
	if err != nil {
		t.Fatal(err)
	}
	child.Start = st.start
	if processDead(self, child) {
		t.Error("a child that runs is dead")
	}
	for name, change := range map[string]func(*core.Process){
		"other boot":      func(p *core.Process) { p.Boot = "x" },
		"other namespace": func(p *core.Process) { p.PIDNS = "x" },
		"no start":        func(p *core.Process) { p.Start = 0 },
		"no pid":          func(p *core.Process) { p.PID = 0 },
	} {
		other := child
		other.Start++ // would be dead
		change(&other)
		if processDead(self, other) {
			t.Errorf("%s: nothing is proved", name)
		}
	}
	recycled := child
	recycled.Start--
	if !processDead(self, recycled) {
		t.Error("a pid that another process got: its first owner is dead")
	}
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	awaitZombie(t, child.PID)
	if !processDead(self, child) {
		t.Error("a zombie is alive")
	}
	_ = cmd.Wait()
	if !processDead(self, child) {
		t.Error("a process that is gone is alive")
	}
}

func TestParseProcStat(t *testing.T) {
	const line = "77 (a) b (c) R 1 77 77 0 -1 4194304 1 0 0 0 0 0 0 0 20 0 8 0 12345 1 1"
	st, err := parseProcStat(line)
	if err != nil || st.zombie || st.start != 12345 {
		t.Errorf("%+v %v", st, err)
	}
	if _, err := parseProcStat("77 (a) R 1"); err == nil {
		t.Error("a line that is cut off was read")
	}
}

// awaitZombie returns when a child has ended, without taking its status.
func awaitZombie(t *testing.T, pid int) {
	t.Helper()
	if err := unix.Waitid(unix.P_PID, pid, nil, unix.WEXITED|unix.WNOWAIT, nil); err != nil {
		t.Fatal(err)
	}
}
