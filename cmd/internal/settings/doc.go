// Package settings reads the files that people write for nexus and packthread: the
// settings of each, and the network file. All mistakes of a file are reported at once,
// each with file and line.
//
// Settings are assignments, one a line, and a value is a number or stands in quotes
// of either kind:
//
//	port = 2002
//	password = "a long sentence is best"   # a comment
//
// The network file has a name at the beginning of a line, and indented what belongs to
// it:
//
//	lahm
//	    subnet=192.168.20.0/24
//	    key=public:...
package settings
