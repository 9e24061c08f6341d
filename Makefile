# The commands of waypost; CI runs the same ones. `make` alone prints the list.
.DEFAULT_GOAL := help
.PHONY: help demo test test-brokers check faults fuzz gateway bench bench-page soak build deb life cross-test fmt deny web unit look

export CARGO ?= $(or $(shell command -v cargo),$(HOME)/.cargo/bin/cargo)
export CARGO_TARGET_DIR ?= target
RELEASE := $(CARGO_TARGET_DIR)/release/waypost
TYPESCRIPT := 5.9.3
PLAYWRIGHT := 1.65.1
AXE := 4.14.1

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: ## a simulated yard on http://127.0.0.1:8080/, nothing to configure; Ctrl-C ends it (ARGS="--listen ADDR --dir DIR")
	@scripts/ready demo
	$(CARGO) run --locked -- demo $(ARGS)

test: ## every test: units, captures, the real binary with ptys, sockets, a broker and a browser
	@scripts/ready test
	$(CARGO) test --locked --no-fail-fast --lib --bins --tests

test-brokers: ## the brokers, PostgreSQL and a fleet of 200 nodes, and their tables (20 minutes; WAYPOST_BROKER=NATS: only those rows)
	@scripts/ready brokers
	WAYPOST_BROKERS=full $(CARGO) test --locked --test it brokers:: -- --nocapture --test-threads 1

check: ## format, lints, documentation, house rules, the page's own tests, the unit file
	@scripts/ready build
	$(CARGO) fmt --check
	$(CARGO) clippy --locked --all-targets -- -D warnings
	RUSTDOCFLAGS=-Dwarnings $(CARGO) doc --locked --no-deps --document-private-items
	$(CARGO) test --locked --quiet --test tidy
	@$(MAKE) --no-print-directory web unit

faults: ## every fault of docs/faults.md in full size, and a table at the end (35 minutes; power cuts need root; WAYPOST_FAULT=F05: only those)
	@scripts/ready faults
	WAYPOST_FAULTS=full $(CARGO) test --locked --test it faults:: -- --nocapture --test-threads 1

gateway: ## the package on a virtual machine: devices that are pulled, crashes, stalls, power cuts, a dead line, a full disk (after make deb; ARCH="amd64" or "arm64", else both; WAYPOST_LAB names its program; 15 minutes each)
	@for arch in $(or $(ARCH),amd64 arm64); do tests/gateway/run.py target/debian/waypost_*_$$arch.deb || exit 1; done

fuzz: ## every reader of bytes from outside, two minutes each (FUZZ_SECONDS=120; needs cargo-fuzz)
	@scripts/fuzz

bench: ## latency beside a floor in C; durable scans a second, bytes to the device and memory beside raw SQLite; a backlog of a million beside rumqttc (30 minutes)
	@scripts/ready build
	$(CARGO) bench --locked --bench store --bench drain

bench-page: build ## the page in a browser at full speed and a sixth of it: from wire to pixel, first live value, work, each beside its bar (6 minutes)
	@scripts/ready test
	WAYPOST=$(RELEASE) node web/tests/browser/bench.mjs

soak: build ## a page in a busy yard, 50 events a second, for half an hour: heap, nodes, requests, streams (SOAK_SECONDS=1800)
	@scripts/ready test
	WAYPOST=$(RELEASE) WAYPOST_SOAK=$(or $(SOAK_SECONDS),1800) node --test --test-reporter=spec web/tests/browser/soak.test.mjs

look: ## every screen in every theme, size and state as a picture in target/look, and axe over each (15 minutes; ARGS=cab: only those)
	@scripts/ready test
	$(CARGO) build --locked
	WAYPOST=$(CARGO_TARGET_DIR)/debug/waypost node web/tests/browser/tour.mjs $(ARGS)

build: ## the release binary, target/release/waypost
	@scripts/ready build
	$(CARGO) build --locked --release
	@! grep -aq WAYPOST_WEDGE $(RELEASE) || { echo "the release binary holds hooks of the tests: src/health/wedge.rs"; exit 1; }

deb: ## the Debian packages for amd64, arm64 and armhf in target/debian, looked over by lintian (20 minutes; ARCH="arm64": only that; needs cargo-deb)
	@scripts/ready deb
	@scripts/deb $(ARCH)

cross-test: ## the tests of the library as programs of arm64 and armhf, under qemu (ARCH="arm64": only that; 20 minutes)
	@scripts/ready deb
	@scripts/cross-test $(ARCH)

life: ## what make deb made, on throw-away machines with systemd: install, upgrade, back, too far back, remove, purge (needs root; WAYPOST_LAB as for gateway; 2 minutes)
	@for deb in target/debian/*.deb; do scripts/life "$$deb" || exit 1; done

fmt: ## format the sources
	$(CARGO) fmt

deny: ## licences, advisories and origins of all crates (needs cargo-deny)
	@$(CARGO) deny --version >/dev/null 2>&1 || { echo "cargo-deny is not here: cargo install --locked cargo-deny@0.20.2"; exit 1; }
	$(CARGO) deny --locked check

# The page has no build; node only tests it and reads its types.
web:
	@if command -v node >/dev/null; then node --test --test-reporter=spec web/tests/*.test.js; else echo "SKIPPED: no node here, the page's own tests did not run"; fi
	@if command -v npx >/dev/null; then npx -y -p typescript@$(TYPESCRIPT) tsc -p web/jsconfig.json; else echo "SKIPPED: no npx here, the page's types were not checked"; fi

unit:
	@if command -v systemd-analyze >/dev/null; then scripts/unit; else echo "SKIPPED: no systemd-analyze here, systemd/waypost.service was not checked"; fi
