package main

import (
	"bytes"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/fstest"

	"vpnd/cmd/internal/lab"
)

func TestSources(t *testing.T) {
	tree := fstest.MapFS{
		"b/z.go":      {Data: []byte("four")},
		"b.go":        {Data: []byte("two-")},
		"a/a.go":      {Data: []byte("one-")},
		"a/notes.txt": {Data: []byte("not")},
		"b/a.go":      {Data: []byte("thr-")},
	}
	for _, test := range []struct {
		limit int
		want  string
	}{{3, "one"}, {10, "one-two-th"}, {16, "one-two-thr-four"}, {17, ""}} {
		got, err := sources(tree, test.limit)
		if string(got) != test.want || (err == nil) != (test.want != "") {
			t.Errorf("limit %d: %q, %v", test.limit, got, err)
		}
	}
}

func TestPieces(t *testing.T) {
	data := make([]byte, 2*corpusPiece+1)
	_, _ = lab.Random(0).Read(data)
	list := pieces(data)
	if len(list) != 3 || len(list[2]) != 1 || !bytes.Equal(bytes.Join(list, nil), data) {
		t.Errorf("%d pieces", len(list))
	}
}

func newTestPage() page {
	text, random := []byte(strings.Repeat("text ", 1<<16)), make([]byte, 1<<18)
	_, _ = lab.Random(0).Read(random)
	return newPage(text, random)
}

// TestPage loads a page, of which nothing is missing and all is small.
func TestPage(t *testing.T) {
	p := newTestPage()
	images := 0
	for i, object := range p {
		if len(object) < pageSmallest || len(object) > pageFirst {
			t.Errorf("object %d has %d bytes", i, len(object))
		}
		if !bytes.HasPrefix(object, []byte("text")) && !bytes.Contains(object, []byte("text text")) {
			images++
		}
	}
	if len(p) != pageObjects || images != (pageObjects-1)/pageImage {
		t.Errorf("%d objects, %d images", len(p), images)
	}
	server := httptest.NewServer(p)
	defer server.Close()
	check(t, p.load(t.Context(), server.Client(), server.Listener.Addr().String()))
}

// TestPageDamaged notices an object that is not what it should be.
func TestPageDamaged(t *testing.T) {
	p := newTestPage()
	for _, test := range []struct{ path, want string }{{"/0", "object 0"}, {"/29", "object 29"}} {
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path == test.path {
				http.NotFound(w, r)
				return
			}
			p.ServeHTTP(w, r)
		}))
		err := p.load(t.Context(), server.Client(), server.Listener.Addr().String())
		if err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: %v", test.path, err)
		}
		server.Close()
	}
	w := httptest.NewRecorder()
	p.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/30", nil))
	if w.Code != http.StatusNotFound {
		t.Errorf("status %d of an object that is not there", w.Code)
	}
}
