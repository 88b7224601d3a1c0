package guidecheck

import (
	"bufio"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	partitest "github.com/arloliu/parti/testing"
)

// The quick start of the guide runs as printed, and ends in good order.
func TestQuickStartRuns(t *testing.T) {
	url := partitest.StartEmbeddedNATS(t).ConnectedUrl()
	binary := filepath.Join(t.TempDir(), "quickstart")
	if out, err := exec.CommandContext(t.Context(), "go", "build", "-o", binary, "./examples/quickstart").CombinedOutput(); err != nil {
		t.Fatalf("build: %v\n%s", err, out)
	}
	cmd := exec.CommandContext(t.Context(), binary)
	cmd.Env = append(os.Environ(), "NATS_URL="+url)
	stderr, err := cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var said []string
	for lines := bufio.NewScanner(stderr); lines.Scan(); {
		_, line, _ := strings.Cut(lines.Text(), " ") // date
		_, line, _ = strings.Cut(line, " ")          // time
		said = append(said, line)
		if strings.Contains(line, "is up") {
			if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
				t.Error(err)
			}
		}
	}
	if err := cmd.Wait(); err != nil {
		t.Errorf("it ends with: %v", err)
	}
	want := `take over topic1.partition-0
take over topic1.partition-1
take over topic1.partition-2
worker-0 is up, leader: true
give up topic1.partition-0
give up topic1.partition-1
give up topic1.partition-2`
	if got := strings.Join(said, "\n"); got != want {
		t.Errorf("it says:\n%s\nwant:\n%s", got, want)
	}
}
