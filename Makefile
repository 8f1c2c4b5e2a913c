# Each target runs in a fresh clone and installs the tools that it needs (dev/tools).
.DEFAULT_GOAL := help
.PHONY: help demo cluster-demo check test e2e lint generate bench faults

# The pinned tools precede other tools of the same name.
export PATH := $(CURDIR)/.tools/bin:$(PATH)

help: ## Show these targets
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / { printf "make %-13s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: ## Protect a real OpenBao with a real Envoy and show which requests are allowed; API=1: with a Kubernetes API server
ifdef API
	@echo 'etcd, kube-apiserver and kubectl are built once, which takes minutes'
	dev/tools install envoy openbao etcd kube-apiserver kubectl
else
	dev/tools install envoy openbao
endif
	cargo build --locked --bin vaultwall --example demo
	cargo run --locked --quiet --example demo $(if $(API),-- --api)

cluster-demo: ## On a kind cluster: install the charts, protect an OpenBao with TLS, and show which pods are allowed
	cargo build --locked --example cluster_demo
	dev/with-cluster target/debug/examples/cluster_demo

check: ## Check format and lints, and run the tests that need no other program
	cargo fmt --all --check
	cargo clippy --locked --workspace --all-targets -- -D warnings
	cargo test --locked --no-fail-fast --workspace --lib --test pure

test: ## Run every test, including those on a cluster
	dev/run-tests

e2e: ## Run the tests on a kind cluster; KEEP=1 keeps the cluster
	cargo build --locked --workspace --test e2e --test packets --example token_search
	dev/with-cluster --cyclonus --external-secrets $(AFTER) target/debug/examples/token_search cluster dev/cluster-tests

lint: ## Check format, lints, and the dependencies' licences and sources
	cargo fmt --all --check
	cargo clippy --locked --workspace --all-targets -- -D warnings
	dev/tools install cargo-deny
	cargo-deny --locked --all-features check bans licenses sources

generate: ## Regenerate CRDs, charts, reference pages and golden files
	dev/tools install helm
	UPDATE_GENERATED=1 cargo test --locked --quiet --test pure -- generated:: descriptors::
	UPDATE_GOLDEN=1 cargo test --locked --quiet --test pure golden::golden
	UPDATE_GOLDEN=1 cargo test --locked --quiet --test with_api_server charts::golden

bench: ## Measure the figures of docs/performance.md; BEFORE=PATH: in part, against an earlier vaultwall
	dev/tools install envoy openbao etcd kubectl kube-apiserver
	cargo bench --locked

faults: ## Measure clients that the rules allow while others try to use up the proxy; BEFORE=PATH: also an earlier vaultwall
	dev/tools install envoy openbao
	cargo bench --locked --bench faults
