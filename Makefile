# Everything runs on Debian 12 with Node 20, as root; `make help` says what there is.
SHELL := /bin/bash
# `su` keeps the path of a user; and what programs print shall be the same everywhere.
export PATH := $(PATH):/usr/local/sbin:/usr/sbin:/sbin
export LC_ALL := C.UTF-8
.DEFAULT_GOAL := help
.PHONY: help setup build check test demo bench clean

help: ## say what there is
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-8s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: ## install missing Debian and npm packages
	@scripts/setup.sh

build: setup ## compile to dist/
	@npm run --silent build

check: setup ## types, lint, format, unit tests and simulation: quick, needs no root
	@npm run --silent check

test: ## everything, with real etcd, kernels and nginx; needs root, takes 25 to 40 minutes
	@scripts/setup.sh --toolchains
	@node scripts/test-all.mjs

demo: build ## a cluster on this machine: serve, kill the holder, lose a real server; needs root
	@node --import tsx scripts/demo.ts

bench: build ## measure, and write the figures into bench/; needs root
	@node --import tsx bench/run.ts

clean: ## remove what was built and measured; node_modules stays
	@rm -rf dist coverage test-evidence .vitest node_modules/.toolchains
