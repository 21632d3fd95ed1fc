# What this project can do. `make` alone prints it.

SHELL := /bin/bash
.DEFAULT_GOAL := help
.PHONY: help demo run sandbox-envoy sandbox-nginx sandbox-caddy check test mutants tools bench bench-ingest bench-load bench-peers fuzz fmt need

# Runs a stage, and says how long it took.
STAGE := ./tests/stage.sh

# Where cargo builds.
BUILT := $(or $(CARGO_TARGET_DIR),target)

# The Kafka client links the system's OpenSSL where pkg-config finds one, so that its fixes come with
# the system's, and builds its own where not, which takes a minute longer.
ifeq ($(shell pkg-config --exists 'openssl >= 1.1.1' 2>/dev/null && echo found),found)
export OPENSSL_NO_VENDOR := 1
endif

help: ## Prints this.
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## (.*)/  make \1\t\2/' | expand -t 22

need: # What building needs, and how to get what is missing.
	@./tests/need.sh

demo: need ## Tells a story of revocations in a real sidecar, and checks every answer.
	@cargo build --quiet --package caed
	@$(BUILT)/debug/caed demo

run: need ## Runs a sidecar with the example configuration, its log under target/run.
	@cargo build --quiet --package caed
	@mkdir -p target/run
	@CAED_LOG_DIRECTORY=target/run/log $(BUILT)/debug/caed serve --config deploy/caed.toml

sandbox-envoy sandbox-nginx sandbox-caddy: need
	@cargo build --quiet --package caed --package caed-sandbox
	@$(BUILT)/debug/caed-sandbox $(patsubst sandbox-%,%,$@)

sandbox-envoy: ## A gateway, an API, an issuer and caed on loopback, with curl lines to play with.
sandbox-nginx: ## The same behind nginx.
sandbox-caddy: ## The same behind Caddy.

check: need ## The quick inner loop: format, lints, docs, every test without other real parts, benches once.
	@$(STAGE) format   cargo fmt --all --check
	@$(STAGE) lints    cargo clippy --workspace --all-targets --quiet -- -D warnings
	@$(STAGE) lints-of-real-parts cargo clippy --workspace --test kafka --test fleet --test browser --test real_gateways --test clients --quiet -- -D warnings
	@$(STAGE) docs     env RUSTDOCFLAGS="-D warnings -A rustdoc::private-intra-doc-links" cargo doc --workspace --no-deps --document-private-items --quiet
	@$(STAGE) tests    cargo test --workspace --quiet
	@$(STAGE) benches  cargo test --workspace --bench micro --bench load --quiet

tools: ## Finds the real parts that tests use, gets what it can, and says what is missing.
	@./tests/tools/find.sh

test: tools ## Everything that must hold: `make check`, then a real Kafka, a real browser, every command of the quickstarts (the demo is the first), what is in deploy/, and the demo on a bare machine.
	@$(STAGE) check      $(MAKE) --no-print-directory check
	@$(STAGE) kafka      cargo test --workspace --test kafka --bench ingest
	@$(STAGE) fleet      cargo test --workspace --test fleet -- --nocapture
	@$(STAGE) browser    cargo test --workspace --test browser
	@$(STAGE) gateways   cargo test --workspace --test real_gateways
	@$(STAGE) clients    cargo test --workspace --test clients
	@$(STAGE) quickstarts python3 tests/tools/quickstarts.py
	@$(STAGE) deploy     ./tests/tools/deploy.sh
	@$(STAGE) plain-path ./tests/plain-path.sh

mutants: need ## Changes core in about a thousand ways, and names each that core's own tests don't notice. Not in CI.
	@./tests/tools/mutants.sh

bench: need ## What deciding, publishing and remembering cost with 10 M subjects, beside a look-up (about 2 minutes).
	@cargo bench --package caed-bench --bench micro

bench-ingest: need ## From Kafka and the embedded log to decisions, beside a bare consumer; starts a broker (about 5 minutes).
	@cargo bench --package caed-bench --bench ingest

bench-load: need ## What is asked over the wire, beside servers that decide nothing; gets ghz (about 7 minutes).
	@cargo build --quiet --release --package caed
	@cargo bench --package caed-bench --bench load

bench-peers: need ## caed beside tonic with Redis, Open Policy Agent and OpenFGA, which it gets (about 7 minutes, once they are there).
	@./bench/peers/obtain.sh
	@cargo build --quiet --release --package caed
	@cargo bench --package caed-bench --bench peers

fuzz: need ## Throws bytes at every decoder, a minute each (needs a nightly compiler and cargo-fuzz).
	@./tests/fuzz/run.sh

fmt: ## Formats the code.
	@cargo fmt --all
