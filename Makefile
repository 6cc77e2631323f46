# swift-bdev. `make run` and `make test` need nothing but Swift and make: they install what is missing.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.NOTPARALLEL:

# How many compiler jobs run at once.
JOBS ?= 2
# The file or device that `make run` also writes and verifies: make run FILE=/path/to/file
FILE ?=
# More arguments for bdevperf (`make run`) or for Benchmarks/run (`make bench`).
ARGS ?=

SWIFT := swift
# Statically linked, so that a suspension costs less and the program is one file to copy; without debug sections, which
# Debian's valgrind cannot read (symbols stay).
RELEASE := -c release --static-swift-stdlib -Xlinker --strip-debug -j $(JOBS)
FORMATTED := Sources Tests Examples Package.swift

# A crash ends at once, with its message, instead of waiting for the interactive backtracer.
export SWIFT_BACKTRACE = enable=no
export JOBS FILE

.PHONY: help
help: ## List the targets
	@echo 'make TARGET [FILE=path] [JOBS=2] [ARGS=…]'
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  %-12s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))

.PHONY: run
run: ## Build bdevperf in release and run its demonstration: null, RAM and a real file (FILE=path for your own)
	@Scripts/setup build
	$(SWIFT) build $(RELEASE) --product bdevperf
	@.build/release/bdevperf --demo $${FILE:+--file "$$FILE"} $(ARGS)

.PHONY: test
test: ## Build in debug and run every test
	@Scripts/setup build test
	$(SWIFT) build --build-tests -j $(JOBS)
	@Scripts/run-tests --skip-build

.PHONY: stress
stress: ## A million I/Os on random stacks while everything else goes on, in release, and 2000 simulations (some minutes)
	@Scripts/setup build test
	STRESS_IO_COUNT=1000000 STRESS_SIMULATIONS=2000 Scripts/run-tests -c release -Xswiftc -enable-testing \
		-j $(JOBS) --filter '^StressTests\.'

.PHONY: vm-test
vm-test: ## Test the NVMe driver in a guest with an IOMMU and real (emulated) controllers; installs QEMU
	@Scripts/setup build vm
	$(SWIFT) build --build-tests -j $(JOBS)
	@Scripts/vm-test

.PHONY: vm-test-fast
vm-test-fast: ## The part of it that takes three minutes
	@Scripts/setup build vm
	$(SWIFT) build --build-tests -j $(JOBS)
	@Scripts/vm-test --fast

.PHONY: fuzz
fuzz: ## Have libFuzzer alter what a controller answers the NVMe driver, for a minute: make fuzz ARGS=600 for ten
	@Scripts/setup build
	@Scripts/fuzz $(ARGS)

.PHONY: vm-bench
vm-bench: ## Count the NVMe driver's instructions and allocations, and measure it beside the kernel's in the guest
	@Scripts/setup build bench vm
	@Benchmarks/nvme.py $(ARGS)

.PHONY: lint
lint: ## Check the formatting (swift-format, strict) and the rules of the code (Tests/LintTests)
	@Scripts/setup build
	$(SWIFT) format lint --strict --recursive --parallel $(wildcard $(FORMATTED))
	@Scripts/run-tests -j $(JOBS) --filter LintTests

.PHONY: format
format: ## Rewrite the Swift files in the project's format
	$(SWIFT) format format --in-place --recursive --parallel $(wildcard $(FORMATTED))

.PHONY: docs
docs: ## Build the API documentation (warnings fail) and the programs' manual pages into .build/docs
	@Scripts/setup build
	@Scripts/docs
	$(SWIFT) package plugin generate-manual --configuration debug
	@mkdir -p .build/docs/man && cp .build/plugins/GenerateManual/outputs/*/*.1 .build/docs/man

.PHONY: bench
bench: ## Count instructions and allocations for each I/O, compare with Benchmarks/thresholds.json, record the rest
	@Scripts/setup build bench
	@Benchmarks/run $(ARGS)

.PHONY: bench-ci
bench-ci: ## Only the comparison: what CI runs
	@Scripts/setup build test vm
	@cd Benchmarks && python3 -m unittest -q test_compare test_nvme
	@Benchmarks/run --ci $(ARGS)
	@Benchmarks/nvme.py --ci

.PHONY: sanitize
sanitize: ## Run the unit tests under Thread Sanitizer and under Address Sanitizer
	@Scripts/setup build test
	@Scripts/sanitize thread
	@Scripts/sanitize address

.PHONY: examples
examples: ## Build the examples, then build and test the module written outside this package
	@Scripts/setup build
	@Scripts/examples

.PHONY: checks
checks: lint docs examples vm-test-fast sanitize bench-ci ## Everything CI runs, but for the tests

.PHONY: check
check: checks test vm-test ## Everything CI runs

.PHONY: clean
clean: ## Remove everything that was built
	rm -rf .build .build-tsan .build-asan Benchmarks/.work Examples/ExternalModule/.build
