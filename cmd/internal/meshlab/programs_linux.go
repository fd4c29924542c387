package meshlab

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// Build builds programs of this tree into a directory.
func Build(dir string, packages ...string) error {
	build := exec.Command("go", append([]string{"build", "-o", dir + "/"}, packages...)...)
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		return fmt.Errorf("build %v: %w\n%s", packages, err, out)
	}
	return nil
}

// WebServer is lighttpd with nexus as a CGI program, as the example has it.
type WebServer struct {
	// Example is the path of the example, Dir where files are written.
	Example, Dir string
	// Nexus is the program, Conf are its settings.
	Nexus, Conf string
	// Bind and Port are where the server listens.
	Bind string
	Port int
}

// Command writes the configuration, and returns the server's command. What CGI programs
// say is in breakage.log then.
func (s WebServer) Command() (*exec.Cmd, error) {
	program, err := exec.LookPath("lighttpd")
	if err != nil {
		return nil, fmt.Errorf("lighttpd is missing (make lighttpd installs it): %w", err)
	}
	example, err := os.ReadFile(s.Example)
	if err != nil {
		return nil, err
	}
	places := strings.NewReplacer("/usr/lib/cgi-bin/nexus.cgi", s.Nexus, "/etc/dynvpn/nexus.conf", s.Conf)
	file := func(name string) string { return filepath.Join(s.Dir, name) }
	text := fmt.Sprintf("server.modules = ()\nserver.document-root = %q\nserver.port = %d\nserver.bind = %q\n"+
		"server.errorlog = %q\nserver.breakagelog = %q\n", s.Dir, s.Port, s.Bind, file("error.log"), file("breakage.log"))
	if err := os.WriteFile(file("lighttpd.conf"), []byte(text+places.Replace(string(example))), 0o600); err != nil {
		return nil, err
	}
	return exec.Command(program, "-D", "-f", file("lighttpd.conf")), nil
}

// UnitCommands returns the words of the commands in a systemd unit, by the names of their
// settings, for an instance with a name.
func UnitCommands(path, instance string) (map[string][]string, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	commands := make(map[string][]string)
	for line := range strings.Lines(string(text)) {
		if name, command, ok := strings.Cut(line, "="); ok && strings.HasPrefix(name, "Exec") {
			commands[name] = strings.Fields(strings.ReplaceAll(command, "%i", instance))
		}
	}
	return commands, nil
}
