package main

import (
	"fmt"
	"io"
	"os"
	"sync"
	"time"

	"github.com/schollz/progressbar/v3"
	"golang.org/x/term"
)

// display writes what happens, line by line, and how far the work is: as a bar
// below the lines on a terminal, else as a line a second.
type display struct {
	out   io.Writer
	begun time.Time
	tty   bool

	mu   sync.Mutex
	bar  *progressbar.ProgressBar
	last time.Time // of the last line about the progress
}

func newDisplay(out io.Writer) *display {
	d := &display{out: out, begun: time.Now()}
	if f, ok := out.(*os.File); ok {
		d.tty = term.IsTerminal(int(f.Fd()))
	}
	return d
}

// say writes a line that begins with the time since the start.
func (d *display) say(format string, args ...any) {
	d.print(fmt.Sprintf("%6.1fs  %s\n", time.Since(d.begun).Seconds(), fmt.Sprintf(format, args...)))
}

// print writes a text above the bar.
func (d *display) print(text string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.bar != nil {
		_ = d.bar.Clear()
	}
	_, _ = io.WriteString(d.out, text)
	if d.bar != nil {
		_ = d.bar.RenderBlank()
	}
}

// status is how far the work is.
type status struct {
	counted, published, total int
	bytes                     int64
	elapsed                   time.Duration // since the first message was sent
	workers                   int
}

func (s status) rates() (messages, megabytes float64) {
	if s.elapsed <= 0 {
		return 0, 0
	}
	sec := s.elapsed.Seconds()
	return float64(s.counted) / sec, float64(s.bytes) / 1e6 / sec
}

func (s status) String() string {
	messages, megabytes := s.rates()
	return fmt.Sprintf("counted %s of %s (%.1f %%), published %s, %.0f msg/s, %.1f MB/s, %d workers",
		thousands(s.counted), thousands(s.total), percent(s.counted, s.total), thousands(s.published),
		messages, megabytes, s.workers)
}

// progress shows how far the work is; it may be called as often as one likes.
func (d *display) progress(s status) {
	if !d.tty {
		if time.Since(d.last) >= time.Second {
			d.last = time.Now()
			d.say("%s", s)
		}
		return
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.bar == nil {
		d.bar = progressbar.NewOptions(s.total,
			progressbar.OptionSetWriter(d.out),
			progressbar.OptionSetWidth(24),
			progressbar.OptionShowCount(),
			progressbar.OptionShowIts(),
			progressbar.OptionSetItsString("msg"),
			progressbar.OptionThrottle(100*time.Millisecond),
			progressbar.OptionSetPredictTime(false),
		)
	}
	_, megabytes := s.rates()
	d.bar.Describe(fmt.Sprintf("%d workers, %.1f MB/s", s.workers, megabytes))
	_ = d.bar.Set(s.counted)
}

// done ends the bar.
func (d *display) done() {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.bar != nil {
		_ = d.bar.Exit()
		d.bar = nil
		_, _ = io.WriteString(d.out, "\n")
	}
}
