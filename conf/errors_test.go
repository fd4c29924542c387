package conf

import "testing"

func TestNearest(t *testing.T) {
	names := []string{"server", "mode", "node", "keepalive", "noanswer", "dns", "linkup", "slipup"}
	for word, want := range map[string]string{
		"server": "server", "srver": "server", "seerver": "server", "sevrer": "server", "sarver": "server",
		"MODE": "mode", "mdoe": "mode", "moda": "mode", "bode": "mode", "made": "mode", "meda": "",
		"kepaliv": "keepalive", "kpaliv": "keepalive", "paliv": "", "nsa": "", "nds": "dns", "": "", "servant1": "",
		"linup": "linkup", "limkup": "linkup", "lipkup": "linkup", "slinkup": "linkup", "siipup": "slipup", "lipup": "slipup",
	} {
		if got := nearest(word, names); got != want {
			t.Errorf("nearest(%q) = %q, want %q", word, got, want)
		}
	}
}

func TestDistance(t *testing.T) {
	for _, tt := range []struct {
		a, b string
		want int
	}{
		{"", "", 0}, {"", "ab", 2}, {"ab", "", 2}, {"ab", "ab", 0}, {"ab", "ba", 1}, {"xab", "xba", 1},
		{"ab", "bc", 2}, {"ab", "ca", 2}, {"abc", "ac", 1}, {"ac", "abc", 1}, {"abc", "axc", 1}, {"kitten", "sitting", 3},
	} {
		if got := distance(tt.a, tt.b); got != tt.want {
			t.Errorf("distance(%q, %q) = %d, want %d", tt.a, tt.b, got, tt.want)
		}
	}
}
