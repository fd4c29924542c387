package main

import (
	"strings"
	"testing"
	"time"

	"vpnd/cmd/internal/lab"
)

func TestMedian(t *testing.T) {
	for _, test := range []struct {
		values []float64
		want   float64
	}{
		{nil, 0},
		{[]float64{3}, 3},
		{[]float64{9, 1, 2}, 2},
		{[]float64{4, 1, 2, 9}, 3},
	} {
		if got := median(test.values); got != test.want {
			t.Errorf("median of %v is %v, not %v", test.values, got, test.want)
		}
	}
}

func TestFigure(t *testing.T) {
	for _, test := range []struct {
		value float64
		want  string
	}{{0, "0"}, {0.01234, "0.0123"}, {1.999, "2"}, {12.34, "12.3"}, {1234.5, "1234"}} {
		if got := figure(test.value); got != test.want {
			t.Errorf("%v is %s, not %s", test.value, got, test.want)
		}
	}
}

// measured is a row with one run of which all rates are the same.
func measured(name string, kind int, rate float64) *result {
	ping := lab.PingStats{RTT: []time.Duration{time.Duration(rate) * time.Millisecond}}
	s := sample{up: rate * 1e9, down: rate * 1e9, many: rate * 1e9, cpu: []cost{{rate, 10 * rate}}, idle: ping, loaded: ping}
	s.memory = [2]int64{int64(rate) << 20, int64(rate) << 21}
	return &result{row: row{name: name, kind: kind}, samples: []sample{s}}
}

func TestTable(t *testing.T) {
	r := measured("name", own, 2)
	more := measured("", own, 4).samples[0]
	r.add(more, nil)
	more.up = 9e9
	r.add(more, nil)
	want := `| name | A to B Gbit/s | B to A Gbit/s | 8 streams Gbit/s | CPU s/GB daemons | CPU s/GB system | idle p50 ms | idle p99 ms | loaded p50 ms | loaded p99 ms | RSS A MB | RSS B MB |
| ---- | ------------- | ------------- | ---------------- | ---------------- | --------------- | ----------- | ----------- | ------------- | ------------- | -------- | -------- |
| name | 4 (2-9)       | 4 (2-4)       | 4 (2-4)          | 4                | 40              | 4           | 4           | 4             | 4             | 4        | 8        |
`
	if got := (results{r}).table(); got != want {
		t.Errorf("table\n%swant\n%s", got, want)
	}
}

func TestVerdicts(t *testing.T) {
	all := results{
		measured(nameEmpty, reference, 10),
		measured(nameBlowfish, own, 4),
		measured(nameBlowfish+suffixOff, own, 8),
		measured(nameAES, own, 20),
		measured(nameOpenVPNBF, tcpPeer, 0.8),
		measured(nameOpenVPNGCM, tcpPeer, 4),
		measured(nameWireGuard, udpPeer, 100),
		measured("tinc-blowfish", tcpPeer, 0.5),
		{row: row{name: nameVtunBF, kind: tcpPeer}, errs: []error{errMissing}},
	}
	all[1].samples[0].many = 1e9
	verdicts := strings.Split(all.verdicts(false), "\n")
	for _, want := range []string{
		"blowfish / OpenVPN BF-CBC | >= 5 | 5 | met",
		"blowfish / vtun blowfish128ecb | >= 3.5 | - | not measured",
		"blowfish / fastest TCP peer | >= 1.8 | 1 | missed",
		"aes-256-gcm / OpenVPN AES-256-GCM | >= 10 | 5 | missed",
		"aes-256-gcm / empty tunnel | >= 0.6 | 2 | met",
		"chacha20-poly1305 / wireguard-go | >= 1.6 | - | not measured",
		"CPU s/GB of the system, blowfish / OpenVPN BF-CBC | <= 0.2 | 5 | missed",
		"random, compress auto / off, blowfish | >= 0.97 | 0.5 | missed",
		"text, compress auto / off, blowfish | >= 1 | - | not measured",
		"idle ping p50, blowfish / empty tunnel | <= 1.3 | 0.4 | met",
		"idle ping p50, aes-256-gcm / empty tunnel | <= 1.3 | 2 | missed",
		"8 streams / 1, blowfish | >= 0.95 | 0.25 | missed",
		"largest RSS of an end of vpnd, MB | <= 25 | 40 | missed",
	} {
		found := false
		for _, line := range verdicts {
			found = found || strings.Join(strings.Fields(line), " ") == "| "+want+" |"
		}
		if !found {
			t.Errorf("no %q in\n%s", want, strings.Join(verdicts, "\n"))
		}
	}
	if text := all.verdicts(true); strings.Contains(text, "random") || !strings.Contains(strings.Join(strings.Fields(text), " "), "| text, compress auto / off, blowfish | >= 1 | 0.5 |") {
		t.Errorf("rows that carry text:\n%s", text)
	}
}
