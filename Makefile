# `make` alone lists what there is to make. Go and make are all it takes; a C
# compiler adds the race detector, redis-server the tests that run on it.

GO      ?= go
VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo dev)

# The tools are pinned in a module of their own and built from source, once.
TOOL := $(GO) tool -modfile=.ci/tools/go.mod

# The race detector needs cgo, and cgo a C compiler.
CGO  := $(shell $(GO) env CGO_ENABLED)
RACE := $(if $(filter 1,$(CGO)),-race)

# All packages, with the test report's own, which ./... leaves out.
PACKAGES := ./... ./.ci/testreport

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
# How long each micro-benchmark runs; all of them take minutes.
BENCHTIME ?= 200ms

.PHONY: help build demo test test-faults test-outage bench lint fmt generate verify check-chart clean

help: ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-11s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))

build: ## Build bin/parley
	CGO_ENABLED=0 $(GO) build -trimpath -buildvcs=false -ldflags "-X main.version=$(VERSION)" -o bin/parley ./services/parley

demo: build ## Start everything and play a conversation (ONESHOT=1: and end)
	bin/parley demo $(if $(filter-out 0,$(ONESHOT)),--oneshot)

test: ## Run all tests, with the race detector; bin/test.json keeps the events
	@mkdir -p bin
	@$(if $(RACE),,echo "no C compiler: testing without the race detector")
	@$(GO) build -o bin/testreport ./.ci/testreport
	@$(GO) build -C .ci/charts -o $(CURDIR)/bin/chart/bin/ helm.sh/helm/v3/cmd/helm # else a test would wait for it
	@bin/testreport -json bin/test.json -summary bin/test.summary $(if $(CI),-no-skips) \
		$(GO) test -json $(RACE) -timeout 5m $(PACKAGES)

# SEEDS is a number of seeds, or a list with commas (one seed: SEEDS=7,).
SEEDS   ?= 10
LENGTH  ?= 75s
WORKERS ?= 3
TABLE   ?= bin/faults.md

test-faults: ## Run the fault suite: SEEDS=10 LENGTH=75s WORKERS=3, TABLE=bin/faults.md
	@mkdir -p $(dir $(TABLE))
	PARLEY_FAULTS_SEEDS=$(SEEDS) PARLEY_FAULTS_LENGTH=$(LENGTH) PARLEY_FAULTS_WORKERS=$(WORKERS) PARLEY_FAULTS_TABLE=$(abspath $(TABLE)) \
		$(GO) test -count 1 -timeout 2h -v -run '^TestFaults$$' ./services/e2e/faults

MESSAGES ?= 50000

test-outage: ## Let an endpoint be down with MESSAGES=50000 waiting, and replay them
	PARLEY_OUTAGE_MESSAGES=$(MESSAGES) $(GO) test -count 1 -timeout 20m ./services/e2e/outage

bench: ## Run the micro-benchmarks
	$(GO) test -run '^$$' -bench . -benchmem -benchtime $(BENCHTIME) ./...

lint: ## Check the code and the schemas, and their formatting
	$(TOOL) golangci-lint run $(PACKAGES)
	cd .ci/charts && $(GO) tool -modfile=../tools/go.mod golangci-lint run
	$(TOOL) golangci-lint fmt --diff . .ci/testreport .ci/charts
	$(TOOL) buf lint proto
	$(TOOL) buf format --diff --exit-code proto

fmt: ## Format the code and the schemas
	$(TOOL) golangci-lint fmt . .ci/testreport .ci/charts
	$(TOOL) buf format --write proto

generate: ## Generate the Go code of proto/
	$(TOOL) buf generate proto --template proto/buf.gen.yaml --output proto

verify: ## Fail if generated code, go.mod or go.sum is not what it should be
	GO="$(GO)" .ci/verify-generated
	$(GO) mod tidy -diff
	cd .ci/tools && $(GO) mod tidy -diff
	cd .ci/charts && $(GO) mod tidy -diff
	$(GO) vet $(PACKAGES)

check-chart: ## Lint and render the Helm chart, and validate what it makes
	GO="$(GO)" .ci/check-chart

clean: ## Remove what was built
	rm -rf bin
