package netif

import "slices"

// planUndo returns the steps that take away what the record lists and put the
// device back as it was. After these a second look may find more to do: the
// kernel drops addresses when the device goes down.
func planUndo(h host, rec record) []step {
	var steps []step
	there := rec.present(h)
	slices.SortStableFunc(there.Routes, func(a, b hostRoute) int { return a.Proto - b.Proto }) // pins last
	for _, r := range there.Routes {
		dev, _ := h.link(r.Dev)
		steps = append(steps, step{op: opDelRoute, dev: dev, route: r})
	}
	for _, a := range there.Addrs {
		dev, _ := h.link(a.Dev)
		steps = append(steps, step{op: opDelAddr, dev: dev, addr: a})
	}
	return append(steps, undoDevice(h, rec.Device)...)
}

func undoDevice(h host, was device) []step {
	dev, ok := h.link(was.Index)
	if !ok {
		return nil
	}
	var steps []step
	if was.WasDown && dev.up {
		steps = append(steps, step{op: opDown, dev: dev})
	}
	if was.OldMTU != 0 && was.OldMTU != dev.mtu {
		old := dev
		old.mtu = was.OldMTU
		steps = append(steps, step{op: opMTU, dev: old})
	}
	for _, a := range was.Lost {
		if !h.hasAddr(a) {
			steps = append(steps, step{op: opAddAddr, dev: dev, addr: a})
		}
	}
	return steps
}
