# What there is to type:
#   make demo      build, and watch traffic move from blue to green and back (40 s after the build)
#   make test      everything that must hold: format, lints, tests
#   make bench     what a request costs, beside nginx, HAProxy, Envoy and a relay that reads nothing
#                  (25 min after the build; BENCH='--quick --case small-64' for less, BENCH=--help)
#   make bench-shift   what weight changes, cohort lists, many services and a scrape cost (7 min;
#                  SHIFT=--quick for less)
#   make bench-decide   what a decision and a count cost
#   make simulate  the guard and its rivals in the README's table, and in 10,000 healthy days (1 h
#                  after the build; SHIFTS=200 RUNS=10 for less)
#   make failback  how long a bad release stays on the air, on real sockets (2 min after the build)
#   make conformance
#                  real clients, conformance cases and attack tools against lbd and nginx, pass
#                  counts side by side (12 min after the build; PARTS=http1,http2 for some parts,
#                  TOOLS=FOLDER keeps what it installs for the next time)
#   make upgrade-storm
#                  ten upgrades and a hundred reloads in a minute under every kind of client
#   make fuzz      60 s of each fuzz target (FUZZ_SECONDS=10 for less)
#   make build     the release binaries, target/release/lbd and lbctl
#
# Each first installs what the build lacks (.ci/install-deps says what); bench and bench-shift also
# nginx, wrk and what else they measure with (benches/side_by_side/tools.py).

CARGO ?= cargo
FUZZ_SECONDS ?= 60
BENCH ?=
SHIFT ?=
# `quick` in Cargo.toml: nearly a release, built in a fraction of the time.
QUICK := --profile quick

.PHONY: demo test bench bench-shift bench-decide bench-build failback simulate conformance fuzz upgrade-storm build deps

demo: deps
	$(CARGO) build --locked $(QUICK) --bins --example demo </dev/null
	@$(CARGO) run --locked --quiet $(QUICK) --example demo </dev/null

test: deps
	$(CARGO) fmt --check
	$(CARGO) fmt --check --manifest-path fuzz/Cargo.toml
	$(CARGO) clippy --locked --all-targets -- -D warnings </dev/null
	.ci/run-tests
	$(CARGO) test --locked --doc </dev/null
	$(CARGO) check --locked --manifest-path fuzz/Cargo.toml --target-dir target </dev/null

bench: bench-build
	python3 -B benches/side_by_side/run.py $(BENCH) </dev/null

bench-shift: bench-build
	python3 -B benches/side_by_side/shift.py $(SHIFT) </dev/null

bench-build: deps
	$(CARGO) build --locked --release --bins --example relay --example open_loop --example allocations </dev/null

bench-decide: deps
	$(CARGO) bench --locked $(QUICK) --bench decision --bench tally -- --noplot </dev/null

failback: deps
	$(CARGO) bench --locked $(QUICK) --bench failback </dev/null

simulate: deps
	$(CARGO) test --locked $(QUICK) --test simulation -- --ignored --nocapture long </dev/null

conformance: deps
	$(CARGO) build --locked $(QUICK) --bins </dev/null
	python3 tests/conformance --lbd $(or $(CARGO_TARGET_DIR),target)/quick/lbd --only "$(PARTS)" --tools "$(TOOLS)"

upgrade-storm: deps
	$(CARGO) test --locked $(QUICK) --test integration -- --ignored --nocapture long_ten_upgrades </dev/null

fuzz: deps
	FUZZ_SECONDS=$(FUZZ_SECONDS) .ci/fuzz </dev/null

build: deps
	$(CARGO) build --locked --release --bins </dev/null

deps:
	@.ci/install-deps
