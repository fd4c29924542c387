# vpnd. "make demo" shows it at work, "make test" tests it; both need Go, root
# and /dev/net/tun. What else a test or demo-mesh needs they install, on Debian.

PREFIX ?= /usr/local
GO     ?= go
export CGO_ENABLED = 0

# The race detector needs cgo.
RACE = CGO_ENABLED=1 $(GO) test -race

.PHONY: all build test check cc lighttpd nft demo demo-serial demo-hub demo-mesh bench bench-slow bench-age bench-peers scale fuzz mutate siege soak install clean

all: build

build:
	$(GO) build -trimpath -ldflags "-s -w" -o bin/ ./cmd/vpnd ./cmd/nexus ./cmd/packthread

test: check cc lighttpd nft
	$(RACE) -count=1 -timeout 20m ./...

# The race detector needs a C compiler; on Debian it is installed if it is missing.
cc:
	@command -v gcc >/dev/null || { apt-get update && apt-get install -y --no-install-recommends gcc libc6-dev; }

# The web server that nexus is tested under, likewise; it is not left running.
lighttpd:
	@command -v lighttpd >/dev/null || { apt-get update && RUNLEVEL=1 apt-get install -y --no-install-recommends lighttpd; \
	  systemctl disable --now lighttpd 2>/dev/null || true; }
	@command -v lighttpd >/dev/null

# nft, for the firewall of the mesh in examples; it is run in namespaces alone.
nft:
	@command -v nft >/dev/null || { apt-get update && apt-get install -y --no-install-recommends nftables; }

# What needs no test to be seen: form, vet, and that other systems compile.
check:
	@out=$$(gofmt -l .); if [ -n "$$out" ]; then echo "gofmt: $$out"; exit 1; fi
	$(GO) vet ./...
	$(GO) mod verify
	for os in freebsd darwin openbsd; do for cmd in vpnd nexus packthread; do GOOS=$$os $(GO) build -o /dev/null ./cmd/$$cmd || exit 1; done; done

demo: build
	$(GO) run ./cmd/internal/demo -vpnd bin/vpnd

# The same over a serial line of 115200 bit/s, made of two pseudo terminals.
demo-serial: build
	$(GO) run ./cmd/internal/demo -vpnd bin/vpnd -serial

# A hub: clients are invited, reach each other, and one is revoked.
demo-hub: build
	$(GO) run ./cmd/internal/demo -vpnd bin/vpnd -hub

# Four networks that find each other through nexus: addresses change, one is behind
# NAT, nexus dies.
demo-mesh: build lighttpd
	$(GO) run ./cmd/internal/demo -mesh bin

# The stages one by one, then vpnd beside other tunnels; docs/performance.md has
# the figures. ARGS="-only vpnd-* -runs 1" for a part. What is not installed is
# left out.
bench: build
	$(GO) test -run '^$$' -bench . -benchmem ./...
	$(GO) run ./cmd/internal/bench $(ARGS)

# What is left of a slow, a long, a lossy and a serial line, for vpnd beside other
# tunnels, in 35 minutes. ARGS="-trials 1m-* -only vpnd,ssh-C" for a part, which
# leaves the picture as it is.
bench-slow: build
	$(GO) run ./cmd/internal/bench slow $(or $(ARGS),-svg docs/ping.svg)

# What a byte costs while a link grows older, for 10 minutes.
bench-age: build
	$(GO) run ./cmd/internal/bench age $(ARGS)

# What a hub with a thousand clients costs; docs/scale.md has the figures.
# ARGS="-clients 100 -idle 10s" for less.
scale:
	$(GO) run ./cmd/internal/scale $(ARGS)

# The other tunnels. Their packages may start services on this host.
bench-peers:
	apt-get update
	apt-get install -y --no-install-recommends openvpn vtun tinc openssh-server fastd

# Every fuzz target for TIME, a duration or a number of executions such as
# 10000000x.
fuzz: TIME ?= 10s
fuzz:
	for pkg in $$($(GO) list ./...); do \
	  for f in $$($(GO) test -list '^Fuzz' $$pkg | grep '^Fuzz'); do \
	    echo "$$pkg $$f"; \
	    $(GO) test -run '^$$' -fuzz "^$$f$$" -fuzztime $(TIME) -fuzzminimizetime 20x $$pkg || exit 1; \
	  done; \
	done

# The long form of what make test runs in short: floods of 2 minutes, 20 kills at
# each point, a lossy path for 100 s, 10 million frames over bad lines.
siege:
	$(GO) test -count=1 -timeout 2h -v -run '^TestSiege|^TestKill|^TestLossy' ./cmd/vpnd -args -thorough
	$(GO) test -count=1 -timeout 2h -v -run '^TestLineNoise' ./tunnel -args -thorough

# Inverts and removes the checks of the authentication code one by one: the tests
# have to notice. ARGS="-run ^crypto/ -p 2" for a part.
mutate:
	nice $(GO) run ./cmd/internal/mutate $(ARGS)

# The real binaries under traffic, cuts, restarts and rekeys; TIME=72h for days.
soak: TIME ?= 20m
soak:
	$(GO) test -count=1 -timeout 0 -v -run '^TestSoak$$' ./cmd/vpnd -args -soak $(TIME)

install:
	@test -x bin/vpnd || { echo 'run "make" first'; exit 1; }
	install -D -m 755 bin/vpnd $(DESTDIR)$(PREFIX)/sbin/vpnd
	install -D -m 755 bin/nexus $(DESTDIR)$(PREFIX)/sbin/nexus
	install -D -m 755 bin/packthread $(DESTDIR)$(PREFIX)/sbin/packthread
	install -D -m 644 docs/nexus.8 $(DESTDIR)$(PREFIX)/share/man/man8/nexus.8
	install -D -m 644 docs/packthread.8 $(DESTDIR)$(PREFIX)/share/man/man8/packthread.8
	install -D -m 644 docs/vpnd.8 $(DESTDIR)$(PREFIX)/share/man/man8/vpnd.8
	install -D -m 644 docs/vpnd.conf.5 $(DESTDIR)$(PREFIX)/share/man/man5/vpnd.conf.5

clean:
	rm -rf bin
