package main

import (
	"bytes"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
)

// element is one of the file, with what counts of it.
type element struct {
	name       string
	attributes map[string]string
	text       string
}

// elements reads SVG, and fails when it is no XML.
func elements(t *testing.T, text []byte) (list []element) {
	t.Helper()
	for d := xml.NewDecoder(bytes.NewReader(text)); ; {
		token, err := d.Token()
		if err == io.EOF {
			return list
		}
		if err != nil {
			t.Fatalf("%v in\n%s", err, text)
		}
		switch token := token.(type) {
		case xml.StartElement:
			e := element{name: token.Name.Local, attributes: make(map[string]string)}
			for _, a := range token.Attr {
				e.attributes[a.Name.Local] = a.Value
			}
			list = append(list, e)
		case xml.CharData:
			if len(list) > 0 {
				list[len(list)-1].text += strings.TrimSpace(string(token))
			}
		}
	}
}

func curveOf(ys ...float64) (list []point) {
	for i, y := range ys {
		list = append(list, point{x: float64(10 * i), y: y, gap: y < 0})
	}
	return list
}

func TestPicture(t *testing.T) {
	shelves := []shelf{
		{"33.6 kbit/s <thin>", []panel{
			{"a & b", curveOf(40, 50, 60), curveOf(100, 20_000, 1e9)},
			{"c", curveOf(40, -1, 60, 70), curveOf(-1, -1)},
		}},
		{"1 Mbit/s", []panel{{"c", nil, []point{{x: -5, y: 1}, {x: 1, gap: true}}}}},
	}
	var b bytes.Buffer
	check(t, drawPicture(&b, "Ping", "vpnd", shelves))
	var words, curves []string
	for i, e := range elements(t, b.Bytes()) {
		switch e.name {
		case "svg":
			if i != 0 || e.attributes["viewBox"] != "0 0 394 404" {
				t.Errorf("element %d: %v", i, e)
			}
		case "text", "title":
			words = append(words, e.text)
		case "polyline":
			curves = append(curves, e.attributes["stroke"]+" "+e.attributes["points"])
		}
	}
	want := []string{
		secondColour + " 0.0,90.0 50.0,21.0 100.0,0.0",
		firstColour + " 0.0,101.9 50.0,99.0 100.0,96.7",
		firstColour + " 0.0,101.9 0.0,101.9", // a dot
		firstColour + " 100.0,96.7 150.0,94.6",
		secondColour + " 0.0,120.0 0.0,120.0",
	}
	if got := strings.Join(curves, "\n"); got != strings.Join(want, "\n") {
		t.Errorf("curves\n%s\nwant\n%s", got, strings.Join(want, "\n"))
	}
	for _, word := range []string{"Ping", "vpnd", "a & b", "10 ms", "100 s", "0", "30", "33.6 kbit/s <thin>, seconds since the stream began"} {
		if !strings.Contains("\n"+strings.Join(words, "\n")+"\n", "\n"+word+"\n") {
			t.Errorf("no %q among %q", word, words)
		}
	}
}

// full is a disk.
type full struct{}

func (full) Write([]byte) (int, error) { return 0, errors.New("no space") }

func TestPictureFails(t *testing.T) {
	if err := drawPicture(full{}, "", "", nil); err == nil || err.Error() != "no space" {
		t.Error(err)
	}
}

func TestDuration(t *testing.T) {
	for ms, want := range map[float64]string{10: "10 ms", 100: "100 ms", 1000: "1 s", 100_000: "100 s"} {
		if got := duration(ms); got != want {
			t.Errorf("%v is %q, not %q", ms, got, want)
		}
	}
	if got := fmt.Sprint(height(lowest), height(highest), height(0)); got != "120 0 120" {
		t.Error(got)
	}
}
