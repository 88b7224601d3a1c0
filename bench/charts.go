package main

import (
	"encoding/json"
	"fmt"
	"image/color"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
)

// Colors that people who see few of them can tell apart (Okabe and Ito 2008).
var palette = []color.RGBA{
	{0, 114, 178, 255}, {86, 180, 233, 255}, {213, 94, 0, 255}, {230, 159, 0, 255}, {0, 158, 115, 255}, {204, 121, 167, 255},
}

var limitColor = color.RGBA{90, 90, 90, 255}

// save writes a chart as PNG and as SVG.
func save(p *plot.Plot, folder, name string, w, h vg.Length) error {
	p.BackgroundColor = color.White
	for _, kind := range []string{".png", ".svg"} {
		if err := p.Save(w, h, filepath.Join(folder, name+kind)); err != nil {
			return fmt.Errorf("draw %s: %w", name+kind, err)
		}
	}
	return nil
}

func newPlot(title, x, y string) *plot.Plot {
	p := plot.New()
	p.Title.Text, p.X.Label.Text, p.Y.Label.Text = title, x, y
	p.Title.Padding = vg.Points(6)
	p.Title.TextStyle.Font.Size = vg.Points(13)
	p.X.Padding, p.Y.Padding = vg.Points(4), vg.Points(4)
	p.Legend.Top = true
	p.Legend.Padding = vg.Points(2)
	return p
}

// drawRows draws what compare measured.
func drawRows(folder string, rows []row) error {
	if err := drawTimes(folder, rows); err != nil {
		return err
	}
	bars := func(name, title, y string, top float64, groups []string, of func(r row, group string) (float64, bool)) error {
		p := newPlot(title, "", y)
		cs := contenders()
		width := vg.Points(360 / float64(len(groups)*(len(cs)+1)))
		for k, c := range cs {
			values := make(plotter.Values, len(groups))
			for i, group := range groups {
				for _, r := range rows {
					if v, ok := of(r, group); ok && r.name == c.name {
						values[i] = min(v, top)
					}
				}
			}
			b, err := plotter.NewBarChart(values, width)
			if err != nil {
				return err
			}
			b.Color, b.LineStyle.Width = palette[k], 0
			b.Offset = width * vg.Length(float64(k)-float64(len(cs)-1)/2)
			p.Add(b)
			p.Legend.Add(c.name, b)
		}
		if err := limitLine(p, -0.5, float64(len(groups))-0.5, func(float64) float64 { return 1 }); err != nil {
			return err
		}
		p.NominalX(groups...)
		p.Y.Min, p.Y.Max = 0, top*1.35 // room for the legend
		return save(p, folder, name, 7*vg.Inch, 3.5*vg.Inch)
	}
	shown := rows[len(rows)-1].size
	for _, r := range rows {
		if r.size == (size{100_000, 64}) {
			shown = r.size
		}
	}
	var weights []string
	for _, d := range drawers {
		weights = append(weights, d.name)
	}
	err := bars("placement-load", "The busiest worker, "+shown.String(), "load over the least possible", 3, weights, func(r row, group string) (float64, bool) {
		return r.busiest / r.least, r.size == shown && r.weights == group
	})
	if err != nil {
		return err
	}
	return bars("placement-moves", "What moves, "+shown.String()+", uniform weights", "weight moved over the least possible", 4, changeNames[:], func(r row, group string) (float64, bool) {
		return r.moved[slices.Index(changeNames[:], group)], r.size == shown && r.weights == uniform.name
	})
}

func drawTimes(folder string, rows []row) error {
	p := newPlot("Time to assign anew, and to plan after a worker left", "partitions x workers", "ms")
	p.Y.Scale, p.Y.Tick.Marker = plot.LogScale{}, plot.LogTicks{Prec: -1}
	var order []size
	for _, r := range rows {
		if !slices.Contains(order, r.size) {
			order = append(order, r.size)
		}
	}
	line := func(name string, c color.Color, dashed bool, of func(r row) float64) error {
		var pts plotter.XYs
		for _, r := range rows {
			if v := of(r); r.weights == uniform.name && v > 0 {
				pts = append(pts, plotter.XY{X: float64(slices.Index(order, r.size)), Y: v})
			}
		}
		return addLine(p, name, pts, c, dashed)
	}
	for k, c := range contenders() {
		err := line(c.name, palette[k], false, func(r row) float64 {
			if r.name != c.name {
				return 0
			}
			return ms(r.took)
		})
		if err != nil {
			return err
		}
	}
	err := line("parti ConsistentHash, after -1", palette[0], true, func(r row) float64 {
		if r.name != "parti ConsistentHash" {
			return 0
		}
		return ms(r.again)
	})
	if err != nil {
		return err
	}
	// No placement can be faster than to read and write each partition once.
	const floor = 0.6e-6 // ms
	var pts plotter.XYs
	names := make([]string, len(order))
	for i, s := range order {
		names[i] = s.String()
		pts = append(pts, plotter.XY{X: float64(i), Y: floor * float64(s.partitions)})
	}
	if err := addLine(p, "reading the list once", pts, limitColor, true); err != nil {
		return err
	}
	p.NominalX(names...)
	p.X.Min, p.X.Max = -0.4, float64(len(names))-0.6
	p.Legend.Left = true
	return save(p, folder, "placement-time", 7*vg.Inch, 4.5*vg.Inch)
}

func addLine(p *plot.Plot, name string, pts plotter.XYs, c color.Color, dashed bool) error {
	if len(pts) == 0 {
		return nil
	}
	slices.SortFunc(pts, func(a, b plotter.XY) int {
		if a.X < b.X {
			return -1
		}
		return 1
	})
	l, s, err := plotter.NewLinePoints(pts)
	if err != nil {
		return fmt.Errorf("draw %s: %w", name, err)
	}
	l.Color, l.Width = c, vg.Points(1.4)
	s.Color, s.Shape, s.Radius = c, draw.CircleGlyph{}, vg.Points(2)
	if dashed {
		l.Dashes = []vg.Length{vg.Points(4), vg.Points(3)}
	}
	p.Add(l, s)
	p.Legend.Add(name, l)
	return nil
}

// limitLine draws what cannot be beaten.
func limitLine(p *plot.Plot, from, to float64, f func(float64) float64) error {
	l, err := plotter.NewLine(plotter.XYs{{X: from, Y: f(from)}, {X: to, Y: f(to)}})
	if err != nil {
		return err
	}
	l.Color, l.Width, l.Dashes = limitColor, vg.Points(1.2), []vg.Length{vg.Points(4), vg.Points(3)}
	p.Add(l)
	p.Legend.Add("theoretical limit", l)
	return nil
}

// scaleFigure is what is drawn of what parti bench scale writes.
type scaleFigure struct {
	Partitions, Workers int
	Event               string
	Total               float64
	Bytes, MovedBytes   int
	Heap                float64
}

// drawScale draws how the times and the bytes of a whole fleet grow.
func drawScale(file, folder string) error {
	text, err := os.ReadFile(file) //nolint:gosec // the caller names it
	if err != nil {
		return err
	}
	var figures []scaleFigure
	if err := json.Unmarshal(text, &figures); err != nil {
		return fmt.Errorf("read %s: %w", file, err)
	}
	if err := os.MkdirAll(folder, 0o750); err != nil { //nolint:gosec // the user names the folder
		return err
	}
	for _, c := range []struct {
		name, title, x string
		fixed          func(f scaleFigure) bool
		at             func(f scaleFigure) float64
	}{
		{
			"scale-partitions", "64 workers, more and more partitions", "partitions",
			func(f scaleFigure) bool { return f.Workers == 64 }, func(f scaleFigure) float64 { return float64(f.Partitions) },
		},
		{
			"scale-workers", "100,000 partitions, more and more workers", "workers",
			func(f scaleFigure) bool { return f.Partitions == 100_000 }, func(f scaleFigure) float64 { return float64(f.Workers) },
		},
	} {
		p := newPlot(c.title, c.x, "ms, KB, MB")
		p.X.Scale, p.Y.Scale = plot.LogScale{}, plot.LogScale{}
		p.X.Tick.Marker, p.Y.Tick.Marker = plot.LogTicks{Prec: -1}, plot.LogTicks{Prec: -1}
		p.Legend.Left = true
		lines := 0
		for k, l := range []struct {
			name  string
			event string
			of    func(f scaleFigure) float64
			dash  bool
		}{
			{"a worker dies: ms until all have applied it", "a worker dies", func(f scaleFigure) float64 { return 1e3 * f.Total }, false},
			{"a worker joins: ms", "a worker joins", func(f scaleFigure) float64 { return 1e3 * f.Total }, false},
			{"a worker dies: KB written", "a worker dies", func(f scaleFigure) float64 { return float64(f.Bytes) / 1e3 }, false},
			{"a worker dies: KB of what moved", "a worker dies", func(f scaleFigure) float64 { return float64(f.MovedBytes) / 1e3 }, true},
			{"memory of the leader: MB", "a worker dies", func(f scaleFigure) float64 { return f.Heap / 1e6 }, false},
		} {
			col := color.Color(palette[k])
			if l.dash {
				col = limitColor
			}
			var pts plotter.XYs
			for x, values := range grouped(figures, c.fixed, c.at, l.event, l.of) {
				slices.Sort(values)
				if v := values[len(values)/2]; v > 0 {
					pts = append(pts, plotter.XY{X: x, Y: v})
				}
			}
			if len(pts) > 1 {
				lines++
				if err := addLine(p, l.name, pts, col, l.dash); err != nil {
					return err
				}
			}
		}
		if lines == 0 {
			continue
		}
		p.Y.Max *= 30 // room for the legend
		if err := save(p, folder, c.name, 6*vg.Inch, 4.5*vg.Inch); err != nil {
			return err
		}
	}
	return nil
}

func grouped(figures []scaleFigure, keep func(scaleFigure) bool, at func(scaleFigure) float64, event string, of func(scaleFigure) float64) map[float64][]float64 {
	out := map[float64][]float64{}
	for _, f := range figures {
		if keep(f) && strings.EqualFold(f.Event, event) {
			out[at(f)] = append(out[at(f)], of(f))
		}
	}
	return out
}
