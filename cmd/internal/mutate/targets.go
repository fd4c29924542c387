package main

// target is code to mutate. The tests of its own package have to notice.
type target struct {
	dir  string // a package, within the module
	code string // a regular expression for "file.go function": what is mutated
}

// targets are what decides whether a byte of a stranger, or of a client that is not to
// be trusted, gets in.
var targets = []target{
	{"crypto", ``},
	{"tunnel/frame", ``},
	{"tunnel/lobby", ``},
	{"tunnel/number", `^(batch|client|journal|number)\.go `},
	{"cmd/internal/registry", `^(message|codec|datagram|state|stateparse|handler|client|saved)\.go `},
	{"cmd/internal/settings", `^(compare|networks)\.go |^assign\.go setPassword$|^problem\.go check`},
	{"conf", `^(peers|invite)\.go |^check\.go parser\.checkKey$|^conf\.go ParseFile$`},
	{"tunnel/pool", `^pool\.go |^file\.go (parseLease|Pool\.parse)$`},
	{"compress", `^decoder\.go `},
	{"tunnel", `^(hello|serve|auth|strong|receive|rekey|delay|gate|carrier|mesh|dialler|hub|guest|peer|direct|line_receive|line_answer|line_call)\.go ` +
		`|^call\.go (Tunnel\.(attempt|reach|greetServer)|judge)$` +
		`|^segments\.go offload\.(headers|many)$|^deliver\.go deliverer\.deliverWhole$` +
		`|^session\.go (Tunnel\.newSession|lineError|session\.(post|run|hangUp|hangUpConn))$`},
}
