package main

// slowGoals returns what vpnd wants to reach on slow lines.
func slowGoals() []goal[*sheet] {
	thin, medium, lossy, serial := thinLine(), mediumLine(), lossyLine(), serialLine()
	var list []goal[*sheet]
	for _, l := range []slowLine{thin, medium} {
		for _, peer := range []string{slowSSH, slowVtun} {
			list = append(list, goal[*sheet]{l.figure("text, vpnd / " + peer), 1.15, false, against(l.figure(figText), peer)})
		}
	}
	for _, l := range []slowLine{thin, medium} {
		list = append(list, goal[*sheet]{l.figure(figFill), 0.93, false, seen(l.figure(figFill))})
	}
	return append(list,
		goal[*sheet]{medium.figure("ping in bulk p95 - 40 ms, ms"), 40, true, func(s *sheet) (float64, bool) {
			p95, ok := s.get(medium.figure(figP95), slowVpnd)
			return p95 - milliseconds(base), ok
		}},
		goal[*sheet]{serial.figure(figP95Packets), 2, true, seen(serial.figure(figP95Packets))},
		goal[*sheet]{serial.figure(figKeyPackets), 3, true, seen(serial.figure(figKeyPackets))},
		goal[*sheet]{serial.figure(figShare), 0.9, false, seen(serial.figure(figShare))},
		goal[*sheet]{lossy.figure(figBare), 0.8, false, seen(lossy.figure(figBare))},
		goal[*sheet]{medium.figure(figCut), 2, true, seen(medium.figure(figCut))},
		goal[*sheet]{thin.figure("page of 30 objects, vpnd / " + slowSSH), 0.8, true, against(thin.figure(figPage), slowSSH)},
	)
}

// seen is a figure of vpnd as it stands.
func seen(figure string) func(*sheet) (float64, bool) {
	return func(s *sheet) (float64, bool) { return s.get(figure, slowVpnd) }
}

// against compares vpnd with another row.
func against(figure, other string) func(*sheet) (float64, bool) {
	return func(s *sheet) (float64, bool) { return ratioOf(s, figure, slowVpnd, other) }
}
