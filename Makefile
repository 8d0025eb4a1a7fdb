.DEFAULT_GOAL := help
.PHONY: help deps test check bench config conformance-peers soak

help: ## Show these targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-18s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

deps: ## Install what the tests need (Debian packages, a Python venv); only what is missing
	@scripts/deps

test: deps ## Run every test; the last line is `N passed, N failed`
	@scripts/test

check: ## Formatting, lints and, where cargo-deny is installed, licences and advisories
	cargo fmt --all --check
	cargo clippy --workspace --all-targets --locked -- -D warnings
	@if cargo deny --version >/dev/null 2>&1; then \
		cargo deny check; \
	else \
		echo 'cargo-deny is not installed (cargo install --locked cargo-deny): licences and advisories unchecked'; \
	fi

bench: ## Measure against nginx
	cargo build --release --locked
	benches/run.sh

soak: ## 300 rounds of kill -9, 300 of a failing disk, 300 power cuts under 16 clients; 100 phones that switch networks every 10 s for 5 minutes
	PLIMSOLL_CRASH_ROUNDS=300 cargo test --locked --test crash -- --nocapture
	PLIMSOLL_FAULT_ROUNDS=300 PLIMSOLL_CUT_ROUNDS=300 cargo test --locked --test faults -- --nocapture
	PLIMSOLL_ATTACK_SECONDS=300 cargo test --locked --test connections attacks -- --nocapture
	PLIMSOLL_SWITCH_MINUTES=5 cargo test --locked --test switch -- --nocapture

conformance-peers: ## Run the tus profile against tusd, @tus/server and rustus
	@conformance/peers/tus-peers.sh

config: ## Write config/plimsoll.toml anew from the types
	cargo run --quiet --locked -- config >config/plimsoll.toml.new
	mv config/plimsoll.toml.new config/plimsoll.toml
