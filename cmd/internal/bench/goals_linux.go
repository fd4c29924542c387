package main

import "strings"

// goals returns all; text says what the rows without a suffix carry.
func goals(text bool) []goal[results] {
	list := []goal[results]{
		{"blowfish / OpenVPN BF-CBC", 5, false, rate(nameBlowfish, nameOpenVPNBF)},
		{"blowfish / vtun blowfish128ecb", 3.5, false, rate(nameBlowfish, nameVtunBF)},
		{"blowfish / fastest TCP peer", 1.8, false, overFastest(nameBlowfish)},
		{"aes-256-gcm / OpenVPN AES-256-GCM", 10, false, rate(nameAES, nameOpenVPNGCM)},
		{"aes-256-gcm / empty tunnel", 0.6, false, rate(nameAES, nameEmpty)},
		{"chacha20-poly1305 / wireguard-go", 1.6, false, rate(nameChaCha, nameWireGuard)},
		{"CPU s/GB of the system, blowfish / OpenVPN BF-CBC", 0.2, true, ratio(nameBlowfish, nameOpenVPNBF, sample.systemCosts)},
	}
	list = append(list, compressionGoals(text)...)
	for _, name := range []string{nameBlowfish, nameAES, nameChaCha} {
		cipher := strings.TrimPrefix(name, "vpnd-")
		list = append(list,
			goal[results]{"idle ping p50, " + cipher + " / empty tunnel", 1.3, true, ratio(name, nameEmpty, sample.idleMedian)},
			goal[results]{"8 streams / 1, " + cipher, 0.95, false, parallel(name)})
	}
	return append(list, goal[results]{"largest RSS of an end of vpnd, MB", 25, true, largestMemory})
}

func compressionGoals(text bool) (list []goal[results]) {
	for _, name := range []string{nameBlowfish, nameAES} {
		cipher := strings.TrimPrefix(name, "vpnd-")
		textGoal := goal[results]{"text, compress auto / off, " + cipher, 1, false, rate(name+suffixText, name+suffixText+suffixOff)}
		if text {
			textGoal.of = rate(name, name+suffixOff)
		} else {
			list = append(list, goal[results]{"random, compress auto / off, " + cipher, 0.97, false, rate(name, name+suffixOff)})
		}
		list = append(list, textGoal)
	}
	return list
}

// rate compares the rates of one stream, of both directions.
func rate(name, other string) func(results) (float64, bool) {
	return ratio(name, other, sample.singles)
}

// ratio compares the medians of two rows.
func ratio(name, other string, of func(sample) []float64) func(results) (float64, bool) {
	return func(rs results) (float64, bool) {
		r, o := rs.get(name), rs.get(other)
		if r == nil || o == nil {
			return 0, false
		}
		return r.median(of) / o.median(of), true
	}
}

// overFastest compares the rate of one stream with the best among the peers over
// TCP, encrypted or not.
func overFastest(name string) func(results) (float64, bool) {
	return func(rs results) (float64, bool) {
		best := 0.0
		for _, r := range rs {
			if r.kind == tcpPeer {
				best = max(best, r.median(sample.singles))
			}
		}
		r := rs.get(name)
		if r == nil || best == 0 {
			return 0, false
		}
		return r.median(sample.singles) / best, true
	}
}

// parallel compares 8 streams with one.
func parallel(name string) func(results) (float64, bool) {
	return func(rs results) (float64, bool) {
		r := rs.get(name)
		if r == nil {
			return 0, false
		}
		return r.median(func(s sample) []float64 { return []float64{s.many} }) / r.median(sample.singles), true
	}
}

func (s sample) idleMedian() []float64 { return []float64{s.idle.Percentile(50).Seconds()} }

// largestMemory returns the most that one end of any vpnd has in the median.
func largestMemory(rs results) (largest float64, ok bool) {
	for _, r := range rs {
		if r.kind != own || len(r.samples) == 0 {
			continue
		}
		for end := range 2 {
			m := r.median(func(s sample) []float64 { return []float64{megabytes(s.memory[end])} })
			largest, ok = max(largest, m), true
		}
	}
	return largest, ok
}

// verdicts says of each goal what came of it.
func (rs results) verdicts(text bool) string { return judge(goals(text), rs) }
