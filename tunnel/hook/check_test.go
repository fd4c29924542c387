package hook

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

func TestCheck(t *testing.T) {
	const script = "#!/bin/sh\n"
	text := func(s string) func(string) error {
		return func(dir string) error { return os.WriteFile(dir+"/hook", []byte(s), 0o700) }
	}
	for _, c := range []struct {
		name string
		path string // below DIR
		make func(dir string) error
		want string // after "hook PATH: "; empty: may run
	}{
		{"good", "hook", nil, ""},
		{"good for all to run", "hook", func(dir string) error { return os.Chmod(dir+"/hook", 0o755) }, ""},
		{"good for root to run", "hook", func(dir string) error { return os.Chmod(dir+"/hook", 0o500) }, ""},
		{"missing", "other", nil, "lstat DIR/other: no such file or directory; write it, or remove the keyword"},
		{"missing directory", "no/hook", nil, "lstat DIR/no: no such file or directory; write it, or remove the keyword"},
		{"file as directory", "hook/x", nil, "DIR/hook is not a directory"},
		{"directory", ".", nil, "DIR is not a regular file; name a script"},
		{"device", "null", func(dir string) error { return os.Symlink("/dev/null", dir+"/null") }, "/dev/null is not a regular file; name a script"},
		{"not executable", "hook", func(dir string) error { return os.Chmod(dir+"/hook", 0o644) }, "DIR/hook is not executable (mode 0644); run: chmod a+rx DIR/hook"},
		{"group may write", "hook", func(dir string) error { return os.Chmod(dir+"/hook", 0o720) }, "DIR/hook is writable by group or others (mode 0720); run: chmod go-w DIR/hook"},
		{"others may write", "hook", func(dir string) error { return os.Chmod(dir+"/hook", 0o702) }, "DIR/hook is writable by group or others (mode 0702); run: chmod go-w DIR/hook"},
		{"others may write a sticky file", "hook", func(dir string) error { return os.Chmod(dir+"/hook", 0o702|os.ModeSticky) }, "DIR/hook is writable by group or others (mode 0702); run: chmod go-w DIR/hook"},
		{"group may write the directory", "hook", func(dir string) error { return os.Chmod(dir, 0o770) }, "DIR is writable by group or others (mode 0770); run: chmod go-w DIR"},
		{"others may write the directory", "hook", func(dir string) error { return os.Chmod(dir, 0o707) }, "DIR is writable by group or others (mode 0707); run: chmod go-w DIR"},
		{"others may write a directory above", "sub/sub/hook", func(dir string) error {
			return first(os.MkdirAll(dir+"/sub/sub", 0o700), os.Rename(dir+"/hook", dir+"/sub/sub/hook"), os.Chmod(dir, 0o777))
		}, "DIR is writable by group or others (mode 0777); run: chmod go-w DIR"},
		{"sticky directory", "hook", func(dir string) error { return os.Chmod(dir, 0o777|os.ModeSticky) }, ""},
		{"shell characters", "it's a hook", func(dir string) error {
			return os.WriteFile(dir+"/it's a hook", []byte(script), 0o600)
		}, `DIR/it's a hook is not executable (mode 0600); run: chmod a+rx 'DIR/it'\''s a hook'`},
		{"no interpreter", "hook", text("echo\n"), "DIR/hook does not begin with a line such as #!/bin/sh"},
		{"byte order mark", "hook", text("\ufeff#!/bin/sh\n"), "DIR/hook does not begin with a line such as #!/bin/sh"},
		{"empty", "hook", text(""), "DIR/hook does not begin with a line such as #!/bin/sh"},
		{"lines of another system", "hook", text("#!/bin/sh\r\necho\r\n"), `DIR/hook has lines that end in CR LF; run: sed -i 's/\r$//' DIR/hook`},
		{"long first line", "hook", text("#!/bin/sh " + strings.Repeat("x", 1000)), ""},
		{"program", "hook", text("\x7fELF\x02\x01"), ""},
		{"link", "link", func(dir string) error { return os.Symlink("hook", dir+"/link") }, ""},
		{"link to nothing", "link", func(dir string) error { return os.Symlink("nothing", dir+"/link") }, "lstat DIR/nothing: no such file or directory; write it, or remove the keyword"},
		{"link to itself", "link", func(dir string) error { return os.Symlink("link", dir+"/link") }, "DIR/link: too many links"},
		{"link to the root and back", "link", func(dir string) error {
			return os.Symlink("/.//.."+dir+"/../"+filepath.Base(dir)+"//hook", dir+"/link")
		}, ""},
		{"link among the directories", "a/../sub/hook", func(dir string) error {
			return first(os.Mkdir(dir+"/a", 0o700), os.Symlink(".", dir+"/sub"))
		}, ""},
		{"link to a directory", "link", func(dir string) error { return os.Symlink(".", dir+"/link") }, "DIR is not a regular file; name a script"},
		{"link to what others may write", "link", func(dir string) error {
			return first(os.Symlink("hook", dir+"/link"), os.Chmod(dir+"/hook", 0o777))
		}, "DIR/hook is writable by group or others (mode 0777); run: chmod go-w DIR/hook"},
		{"link that others may replace", "sub/link", func(dir string) error {
			return first(os.Mkdir(dir+"/sub", 0o700), os.Chmod(dir+"/sub", 0o777), os.Symlink("../hook", dir+"/sub/link"))
		}, "DIR/sub is writable by group or others (mode 0777); run: chmod go-w DIR/sub"},
		{"link by a link that others may replace", "link", func(dir string) error {
			return first(os.Mkdir(dir+"/sub", 0o700), os.Chmod(dir+"/sub", 0o777), os.Symlink("../hook", dir+"/sub/link"), os.Symlink("sub/link", dir+"/link"))
		}, "DIR/sub is writable by group or others (mode 0777); run: chmod go-w DIR/sub"},
		{"directory by a link that others may replace", "way/hook", func(dir string) error {
			return first(os.Mkdir(dir+"/sub", 0o700), os.Chmod(dir+"/sub", 0o777), os.Symlink(dir, dir+"/sub/link"), os.Symlink("sub/link", dir+"/way"))
		}, "DIR/sub is writable by group or others (mode 0777); run: chmod go-w DIR/sub"},
		{"link to what others may replace", "link", func(dir string) error {
			return first(os.Mkdir(dir+"/sub", 0o700), os.Rename(dir+"/hook", dir+"/sub/hook"), os.Chmod(dir+"/sub", 0o777), os.Symlink("sub/hook", dir+"/link"))
		}, "DIR/sub is writable by group or others (mode 0777); run: chmod go-w DIR/sub"},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir, err := filepath.EvalSymlinks(t.TempDir())
			if err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(dir+"/hook", []byte(script), 0o700); err != nil {
				t.Fatal(err)
			}
			if c.make != nil {
				if err := c.make(dir); err != nil {
					t.Fatal(err)
				}
			}
			path := filepath.Join(dir, c.path)
			checkError(t, Check(path), strings.ReplaceAll(c.want, "DIR", dir), path)
		})
	}
}

func first(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

// TestOwner gives a script, its directory, or a link to it to another user, if the
// test may; if not, the daemon is another user than the owner.
func TestOwner(t *testing.T) {
	const other = 54321
	for _, c := range []struct{ name, path, run string }{
		{"script", "/hook", "/hook"}, {"directory", "", "/hook"}, {"link in a sticky directory", "/link", "/link"},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir, err := filepath.EvalSymlinks(t.TempDir())
			if err != nil {
				t.Fatal(err)
			}
			hook := write(t, dir+"/hook", "")
			if err := first(os.Chmod(hook, 0o755), os.Symlink("hook", dir+"/link"), os.Chmod(dir, 0o777|os.ModeSticky)); err != nil {
				t.Fatal(err)
			}
			hook = dir + c.run
			owner, what := os.Geteuid(), ""
			if err := Check(hook); err != nil {
				t.Fatal(err)
			}
			if owner == 0 {
				owner, what = other, dir+c.path
				if err := os.Lchown(what, owner, -1); err != nil {
					t.Fatal(err)
				}
			}
			if _, err := resolve(hook, owner); err != nil {
				t.Errorf("the owner may not run it: %v", err)
			}
			for _, euid := range []int{0, owner + 1} {
				_, err := resolve(hook, euid)
				want := what + " belongs to user " + strconv.Itoa(owner) + ", neither root nor user " + strconv.Itoa(euid) + " that runs vpnd; run: chown root " + what
				if err == nil || !strings.Contains(err.Error(), want) {
					t.Errorf("error %v, want %s", err, want)
				}
			}
		})
	}
}

func TestShellQuote(t *testing.T) {
	for in, want := range map[string]string{
		"/etc/vpnd/link-up_1.2": "/etc/vpnd/link-up_1.2",
		"a b":                   "'a b'",
		"a$(id)":                "'a$(id)'",
		"'":                     `''\'''`,
		"a\nb":                  "'a\nb'",
		"ü":                     "'ü'",
	} {
		if got := shellQuote(in); got != want {
			t.Errorf("shellQuote(%q) = %s, want %s", in, got, want)
		}
	}
}
