package main

import (
	"fmt"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/dustin/go-humanize"
)

// topWords is how many words the summary shows.
const topWords = 10

// summary is what a run ends with.
type summary struct {
	in         *input
	tally      *tally
	rebalances int
	moves      int
	forced     int
	recovery   time.Duration // from the kill to full coverage; 0 without a kill
	killed     string
	percent    float64       // counted when it was killed
	inFlight   int           // likewise
	workTime   time.Duration // from the first message sent to the last counted
}

// String is the words and the table.
func (s summary) String() string {
	var b strings.Builder
	b.WriteByte('\n')
	words := tabwriter.NewWriter(&b, 0, 0, 2, ' ', tabwriter.AlignRight)
	row(words, "top words", "count", "one process")
	for _, w := range s.tally.counts.top(topWords) {
		want := int64(0)
		if n := s.in.want.words[w.word]; n != nil {
			want = *n
		}
		row(words, w.word, thousands(w.n), thousands(want))
	}
	row(words, "all words", thousands(s.tally.counts.total), thousands(s.in.want.total))
	row(words, "different words", thousands(len(s.tally.counts.words)), thousands(len(s.in.want.words)))
	_ = words.Flush()

	b.WriteByte('\n')
	t := tabwriter.NewWriter(&b, 0, 0, 2, ' ', tabwriter.AlignRight)
	row(t, "messages published", thousands(s.tally.published))
	row(t, "messages counted", thousands(s.tally.counted))
	row(t, "lost", thousands(len(s.tally.lost())))
	row(t, "duplicated", thousands(s.tally.duplicated))
	row(t, "out of order", thousands(s.tally.unordered))
	row(t, "rebalances", thousands(s.rebalances))
	row(t, "partitions moved", thousands(s.moves))
	if s.forced > 0 {
		row(t, "handoffs forced", thousands(s.forced))
	}
	if s.killed != "" {
		row(t, "kill to full coverage", seconds(s.recovery))
	}
	row(t, "pause of a moved partition, p50 / p99", spread(s.tally.pauses.moved))
	if s.killed != "" {
		row(t, "pause of the killed worker's", spread(s.tally.pauses.orphaned))
	}
	row(t, "pause of the others", spread(s.tally.pauses.others))
	row(t, "time for the messages", seconds(s.workTime))
	_ = t.Flush()
	if s.killed != "" && !s.shows() {
		fmt.Fprintf(&b, "\n  input too small to show a kill with work in flight: it came at %.1f %% with %s messages in flight\n",
			s.percent, thousands(s.inFlight))
	}
	return b.String()
}

// shows reports whether the kill came when there was work to be lost.
func (s summary) shows() bool {
	return s.inFlight > 0 && s.percent >= killFrom && s.percent <= killTo
}

// row writes one line; every cell but the last needs its own end for the
// alignment, and the last one too.
func row(w *tabwriter.Writer, cells ...string) {
	_, _ = fmt.Fprintln(w, "  "+strings.Join(cells, "\t")+"\t")
}

// thousands writes a number with commas.
func thousands[T int | int64](n T) string { return humanize.Comma(int64(n)) }

func seconds(d time.Duration) string { return fmt.Sprintf("%.2f s", d.Seconds()) }
