package main

import (
	"encoding/xml"
	"fmt"
	"io"
	"math"
	"strings"
)

// point is a value over time. A gap is one that is missing.
type point struct {
	x, y float64 // seconds, milliseconds
	gap  bool
}

// panel shows how two things did over the same time: which, and beside whom.
type panel struct {
	title         string
	first, second []point
}

// shelf is panels in a row, that have one axis of time.
type shelf struct {
	title  string
	panels []panel
}

// Sizes of a picture, in pixels.
const (
	panelWidth, panelHeight = 150, 120
	panelGap                = 14
	pictureLeft             = 66
	pictureHead, shelfHead  = 40, 44
	shelfFoot               = 18
	fontSize                = 11
)

// Colours that most of those who do not see all of them tell apart.
const (
	firstColour, secondColour = "#0072b2", "#d55e00"
	gridColour, textColour    = "#dddddd", "#333333"
)

// The axis of values is logarithmic.
const (
	lowest, highest = 10.0, 100_000.0 // milliseconds
	timeStep        = 10.0            // seconds between marks
)

// picture writes SVG.
type picture struct {
	w   io.Writer
	err error
}

// drawPicture writes panels as SVG: first is who the first curves are.
func drawPicture(w io.Writer, title, first string, shelves []shelf) error {
	most := 0
	for _, s := range shelves {
		most = max(most, len(s.panels))
	}
	width := pictureLeft + most*(panelWidth+panelGap)
	height := pictureHead + len(shelves)*(shelfHead+panelHeight+shelfFoot)
	p := &picture{w: w}
	p.put(`<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" width="%d" height="%d" font-family="sans-serif" font-size="%d" role="img">`,
		width, height, width, height, fontSize)
	p.put(`<title>%s</title>`, escape(title))
	p.put(`<rect width="%d" height="%d" fill="#ffffff"/>`, width, height)
	p.text(pictureLeft, 16, "start", textColour, title)
	p.text(pictureLeft, 32, "start", firstColour, first)
	p.text(pictureLeft+50, 32, "start", secondColour, "the other tunnel")
	for i, s := range shelves {
		p.shelf(s, float64(pictureHead+i*(shelfHead+panelHeight+shelfFoot)))
	}
	p.put(`</svg>`)
	return p.err
}

func (p *picture) put(format string, args ...any) {
	if p.err == nil {
		_, p.err = fmt.Fprintf(p.w, format+"\n", args...)
	}
}

func (p *picture) text(x, y float64, anchor, colour, text string) {
	p.put(`<text x="%.0f" y="%.0f" text-anchor="%s" fill="%s">%s</text>`, x, y, anchor, colour, escape(text))
}

func escape(text string) string {
	var b strings.Builder
	_ = xml.EscapeText(&b, []byte(text)) // a Builder takes everything
	return b.String()
}

func (p *picture) shelf(s shelf, top float64) {
	p.text(pictureLeft, top+20, "start", textColour, s.title+", seconds since the stream began")
	top += shelfHead
	from, to := span(s.panels)
	for y := lowest; y <= highest; y *= 10 {
		p.text(pictureLeft-6, top+height(y)+4, "end", textColour, duration(y))
	}
	for i, it := range s.panels {
		left := float64(pictureLeft + i*(panelWidth+panelGap))
		p.put(`<g transform="translate(%.0f %.0f)">`, left, top)
		p.text(0, -6, "start", secondColour, it.title)
		p.grid(from, to)
		p.curve(it.second, secondColour, from, to)
		p.curve(it.first, firstColour, from, to)
		p.put(`</g>`)
	}
}

func (p *picture) grid(from, to float64) {
	for y := lowest; y <= highest; y *= 10 {
		p.line(0, height(y), panelWidth, height(y))
	}
	for x := math.Ceil(from/timeStep) * timeStep; x <= to; x += timeStep {
		at := across(x, from, to)
		p.line(at, 0, at, panelHeight)
		p.text(at, panelHeight+13, "middle", textColour, fmt.Sprint(x+0)) // not "-0"
	}
}

func (p *picture) line(x1, y1, x2, y2 float64) {
	p.put(`<line x1="%.1f" y1="%.1f" x2="%.1f" y2="%.1f" stroke="%s"/>`, x1, y1, x2, y2, gridColour)
}

// curve draws points as lines that end at gaps.
func (p *picture) curve(points []point, colour string, from, to float64) {
	var run []string
	flush := func() {
		if len(run) == 1 {
			run = append(run, run[0]) // a dot
		}
		if len(run) > 0 {
			p.put(`<polyline points="%s" fill="none" stroke="%s" stroke-width="1.5" stroke-linecap="round" stroke-linejoin="round"/>`, strings.Join(run, " "), colour)
		}
		run = nil
	}
	for _, it := range points {
		if it.gap {
			flush()
			continue
		}
		run = append(run, fmt.Sprintf("%.1f,%.1f", across(it.x, from, to), height(it.y)))
	}
	flush()
}

// span returns the first and the last time in some panels.
func span(panels []panel) (from, to float64) {
	from, to = math.Inf(1), math.Inf(-1)
	for _, it := range panels {
		for _, points := range [][]point{it.first, it.second} {
			for _, pt := range points {
				from, to = min(from, pt.x), max(to, pt.x)
			}
		}
	}
	return from, to
}

// across is where a time is in a panel.
func across(x, from, to float64) float64 {
	if to <= from {
		return 0
	}
	return (x - from) / (to - from) * panelWidth
}

// height is where a value is in a panel, from above.
func height(y float64) float64 {
	y = min(max(y, lowest), highest)
	return panelHeight * (1 - math.Log(y/lowest)/math.Log(highest/lowest))
}

// duration writes milliseconds.
func duration(ms float64) string {
	if ms >= 1000 {
		return fmt.Sprintf("%g s", ms/1000)
	}
	return fmt.Sprintf("%g ms", ms)
}
