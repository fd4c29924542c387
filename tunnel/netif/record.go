package netif

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"reflect"
	"slices"
)

// recordVersion is the version of the state file that is read and written here.
const recordVersion = 1

// record is what an instance has installed on the host, or is about to. It may
// list more than the host has, never less.
type record struct {
	Version int `json:"version"`
	// Place names the boot and the network namespace. What was installed in
	// another one is gone or out of reach, and an interface with the same index
	// is not the same interface.
	Place  string      `json:"place"`
	Device device      `json:"device"`
	Addrs  []hostAddr  `json:"addrs,omitempty"`
	Routes []hostRoute `json:"routes,omitempty"`
}

// device is what changed about the device itself and how it was before.
type device struct {
	Name  string `json:"name"`
	Index int    `json:"index"`
	// OldMTU is the MTU that we changed, 0 when we did not.
	OldMTU int `json:"old_mtu,omitzero"`
	// WasDown says that we set the device up.
	WasDown bool `json:"was_down,omitzero"`
	// Lost lists addresses that were there and that the kernel drops on the
	// way: IPv6 ones when the device goes down or its MTU is too small.
	Lost []hostAddr `json:"lost,omitempty"`
}

// empty reports whether the record lists nothing that would have to be undone.
func (r record) empty() bool {
	d := r.Device
	return len(r.Addrs) == 0 && len(r.Routes) == 0 && d.OldMTU == 0 && !d.WasDown && len(d.Lost) == 0
}

// covers reports whether r lists all that o does.
func (r record) covers(o record) bool {
	lacks := func(list []hostAddr) func(hostAddr) bool {
		return func(a hostAddr) bool {
			return !slices.ContainsFunc(list, func(x hostAddr) bool { return x.id() == a.id() })
		}
	}
	was, is := r.Device, o.Device
	was.Lost, is.Lost = nil, nil
	routes := r.routeSet()
	return r.Place == o.Place && reflect.DeepEqual(was, is) &&
		!slices.ContainsFunc(o.Device.Lost, lacks(r.Device.Lost)) &&
		!slices.ContainsFunc(o.Addrs, lacks(r.Addrs)) &&
		!slices.ContainsFunc(o.Routes, func(x hostRoute) bool { return !routes[x.id()] })
}

// encode returns the text of the state file.
func (r record) encode() ([]byte, error) {
	r.Version = recordVersion
	text, err := json.MarshalIndent(r, "", "\t")
	return append(text, '\n'), err
}

// decode reads the text of a state file. It takes nothing that encode would
// not have written: what is removed on the word of this file must be certain.
func decode(text []byte) (record, error) {
	var version struct{ Version int }
	if err := json.Unmarshal(text, &version); err != nil {
		return record{}, err
	}
	if version.Version != recordVersion {
		return record{}, fmt.Errorf("version %d, this program knows %d", version.Version, recordVersion)
	}
	var r record
	d := json.NewDecoder(bytes.NewReader(text))
	d.DisallowUnknownFields()
	if err := d.Decode(&r); err != nil {
		return record{}, err
	}
	if _, err := d.Token(); err != io.EOF {
		return record{}, errors.New("more text after the end")
	}
	return r, r.check()
}

func (r record) check() error {
	if r.Device.Index < 0 || r.Device.OldMTU < 0 {
		return fmt.Errorf("device %d with MTU %d", r.Device.Index, r.Device.OldMTU)
	}
	for _, a := range slices.Concat(r.Addrs, r.Device.Lost) {
		if !a.Local.IsValid() || a.Dev <= 0 {
			return fmt.Errorf("address %v on interface %d", a.Local, a.Dev)
		}
	}
	for _, x := range r.Routes {
		if !x.Dest.IsValid() || x.Dest != x.Dest.Masked() || x.Dev <= 0 || x.Metric < 0 {
			return fmt.Errorf("route %v metric %d on interface %d", x.Dest, x.Metric, x.Dev)
		}
		if x.Proto != protoRoute && x.Proto != protoPin {
			return fmt.Errorf("route %v: protocol %d is not ours", x.Dest, x.Proto)
		}
	}
	return nil
}

// routeSet returns the recorded routes for quick look-up: there can be
// thousands.
func (r record) routeSet() map[hostRoute]bool {
	set := make(map[hostRoute]bool, len(r.Routes))
	for _, x := range r.Routes {
		set[x.id()] = true
	}
	return set
}

// present returns the record without the things that the host does not have.
func (r record) present(h host) record {
	ours := r.routeSet()
	r.Routes = nil
	for _, x := range h.routes {
		if ours[x.id()] {
			r.Routes = append(r.Routes, x.id())
		}
	}
	r.Addrs = slices.DeleteFunc(slices.Clone(r.Addrs), func(a hostAddr) bool { return !h.hasAddr(a) })
	return r
}
