package parti

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/arloliu/parti/internal/core"
)

// bootClock returns a clock that goes on while the machine sleeps, or nil.
//
// The kernel's clocks are believed only while its real-time clock agrees with
// time.Now: inside a testing/synctest bubble time.Now is virtual, the kernel's
// time means nothing, and the bubble's clock has to do.
func bootClock() func() time.Duration {
	wall, err := kernelTime(unix.CLOCK_REALTIME)
	if err != nil || (time.Duration(time.Now().UnixNano())-wall).Abs() > time.Second {
		return nil
	}
	if _, err := kernelTime(unix.CLOCK_BOOTTIME); err != nil {
		return nil
	}
	return func() time.Duration {
		t, _ := kernelTime(unix.CLOCK_BOOTTIME)
		return t
	}
}

func kernelTime(id int32) (time.Duration, error) {
	var ts unix.Timespec
	if err := unix.ClockGettime(id, &ts); err != nil {
		return 0, fmt.Errorf("read kernel clock %d: %w", id, err)
	}
	return time.Duration(ts.Nano()), nil
}

// currentProcess names this process; a field that cannot be read stays empty,
// which makes the process comparable with none.
func currentProcess() core.Process {
	p := core.Process{PID: os.Getpid()}
	if b, err := os.ReadFile("/proc/sys/kernel/random/boot_id"); err == nil {
		p.Boot = string(bytes.TrimSpace(b))
	}
	if ns, err := os.Readlink("/proc/self/ns/pid"); err == nil {
		p.PIDNS = ns
	}
	if st, err := readProcStat(p.PID); err == nil {
		p.Start = st.start
	}
	return p
}

// processDead reports whether other is proved dead: it ran in the same boot and
// the same pid namespace as self, and its pid is gone, or a zombie, or belongs
// to a process that started at another time. When in doubt it is not.
func processDead(self, other core.Process) bool {
	if self.Boot == "" || self.PIDNS == "" || self.Boot != other.Boot || self.PIDNS != other.PIDNS ||
		other.PID <= 0 || other.Start == 0 {
		return false
	}
	// Not by the absence of its directory: /proc may hide other users' processes.
	if err := unix.Kill(other.PID, 0); errors.Is(err, unix.ESRCH) {
		return true
	}
	st, err := readProcStat(other.PID)
	if err != nil {
		return false
	}
	return st.start != other.Start || st.zombie && oneThread(other.PID)
}

type procStat struct {
	zombie bool
	start  uint64 // clock ticks since boot
}

func readProcStat(pid int) (procStat, error) {
	b, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if err != nil {
		return procStat{}, fmt.Errorf("read process %d: %w", pid, err)
	}
	return parseProcStat(string(b))
}

// parseProcStat reads fields 3 (state) and 22 (start time), see proc(5). The
// name in field 2 may hold blanks and parentheses, so count from the last one.
func parseProcStat(s string) (procStat, error) {
	_, rest, _ := lastCut(s, ")")
	f := strings.Fields(rest)
	if len(f) < 20 {
		return procStat{}, fmt.Errorf("process status %q: too few fields", s)
	}
	start, err := strconv.ParseUint(f[19], 10, 64)
	if err != nil {
		return procStat{}, fmt.Errorf("process status %q: %w", s, err)
	}
	return procStat{zombie: f[0] == "Z" || f[0] == "X" || f[0] == "x", start: start}, nil
}

func lastCut(s, sep string) (before, after string, found bool) {
	if i := strings.LastIndex(s, sep); i >= 0 {
		return s[:i], s[i+len(sep):], true
	}
	return s, "", false
}

// oneThread reports whether no thread but the first is left: a process whose
// first thread has ended alone looks like a zombie while the others run on.
func oneThread(pid int) bool {
	threads, err := os.ReadDir("/proc/" + strconv.Itoa(pid) + "/task")
	return err == nil && len(threads) <= 1
}
