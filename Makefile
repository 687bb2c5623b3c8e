# `make` alone lists what there is to make. Go and make are all it takes; a C
# compiler adds the race detector, redis-server the tests that run on it.

GO      ?= go
VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo dev)

# The tools are pinned in a module of their own and built from source, once.
TOOL    := $(GO) tool -modfile=.ci/tools/go.mod
RELEASE := $(GO) tool -modfile=.ci/release/go.mod

# The race detector needs cgo, and cgo a C compiler.
CGO  := $(shell $(GO) env CGO_ENABLED)
RACE := $(if $(filter 1,$(CGO)),-race)

# All packages, with those of .ci, which ./... leaves out.
PACKAGES := ./... ./.ci/testreport ./.ci/notices

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
# How long each micro-benchmark runs; all of them take minutes.
BENCHTIME ?= 200ms

.PHONY: help build cross sbom notices release-check release-try demo test test-faults test-outage test-upgrade bench lint fmt \
	generate verify check-rules check-chart clean

help: ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-13s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))

# What is shipped is built alike everywhere: here, in deploy/Dockerfile and in
# .goreleaser.yaml.
BUILD := CGO_ENABLED=0 $(GO) build -trimpath -buildvcs=false -ldflags "-X main.version=$(VERSION)"

build: ## Build bin/parley
	$(BUILD) -o bin/parley ./services/parley

# Of systems other than Unix all packages are vetted, with their tests; the
# flags are those of the build, so that what it compiled is not compiled again.
cross: ## Build for all systems that releases are for, and vet for Windows
	GOOS=linux GOARCH=amd64 $(BUILD) -o bin/cross/parley-linux-amd64 ./services/parley
	GOOS=linux GOARCH=arm64 $(BUILD) -o bin/cross/parley-linux-arm64 ./services/parley
	GOOS=darwin GOARCH=amd64 $(BUILD) -o bin/cross/parley-darwin-amd64 ./services/parley
	GOOS=darwin GOARCH=arm64 $(BUILD) -o bin/cross/parley-darwin-arm64 ./services/parley
	GOOS=windows GOARCH=amd64 $(BUILD) -o bin/cross/parley-windows-amd64.exe ./services/parley
	GOOS=windows GOARCH=amd64 CGO_ENABLED=0 $(GO) vet -trimpath -buildvcs=false ./...

sbom: build ## Write bin/parley.cdx.json, the bill of materials (CycloneDX)
	GO="$(GO)" .ci/sbom bin/parley bin/parley.cdx.json

notices: build ## Write bin/THIRD_PARTY_NOTICES, the licences of what is linked in
	$(GO) run ./.ci/notices bin/parley >bin/THIRD_PARTY_NOTICES

release-check: ## Check the fields of .goreleaser.yaml
	$(GO) -C .ci/release run . $(abspath .goreleaser.yaml)

release-try: ## Make a release in dist/ that is not published
	$(RELEASE) goreleaser release --snapshot --clean --skip=sign,publish

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

FROM             ?= HEAD~1
UPGRADE_MESSAGES ?= 12000

test-upgrade: ## Roll a system from revision FROM=HEAD~1 to this one and back, with UPGRADE_MESSAGES=12000
	PARLEY_UPGRADE_FROM=$(FROM) PARLEY_UPGRADE_MESSAGES=$(UPGRADE_MESSAGES) $(GO) test -count 1 -timeout 20m -v ./services/e2e/upgrade

# Prometheus' own tool, in a module of its own: it stands on some 1,400 packages. One
# that is installed does as well: PROMTOOL=promtool.
PROMTOOL ?= $(GO) tool -modfile=.ci/rules/go.mod promtool

check-rules: ## Check alerts and dashboards: their syntax, their tests, and that what they use exists
	cd .ci/rules && $(GO) test -count 1 ./... # what it reads is outside its module, so that a cached result would be stale
	$(PROMTOOL) check config deploy/prometheus/prometheus.yml
	$(PROMTOOL) check rules deploy/prometheus/rules/parley.yml
	$(PROMTOOL) test rules deploy/prometheus/rules/parley_test.yml

bench: ## Run the micro-benchmarks
	$(GO) test -run '^$$' -bench . -benchmem -benchtime $(BENCHTIME) ./...

lint: ## Check the code and the schemas, and their formatting
	$(TOOL) golangci-lint run $(PACKAGES)
	cd .ci/rules && $(GO) tool -modfile=../tools/go.mod golangci-lint run
	cd .ci/charts && $(GO) tool -modfile=../tools/go.mod golangci-lint run
	$(TOOL) golangci-lint fmt --diff . .ci/testreport .ci/notices .ci/rules .ci/charts
	$(TOOL) buf lint proto
	$(TOOL) buf format --diff --exit-code proto

fmt: ## Format the code and the schemas
	$(TOOL) golangci-lint fmt . .ci/testreport .ci/notices .ci/rules .ci/charts
	$(TOOL) buf format --write proto

generate: ## Generate the Go code of proto/, docs/configuration.md, and the table of docs/metrics.md
	$(TOOL) buf generate proto --template proto/buf.gen.yaml --output proto
	@mkdir -p bin
	$(GO) run ./services/parley config reference >bin/configuration.md
	mv bin/configuration.md docs/configuration.md
	$(GO) test -count 1 -run '^TestMetricsPage$$' ./services/parley -update

verify: ## Fail if generated code, go.mod or go.sum is not what it should be
	GO="$(GO)" .ci/verify-generated
	$(GO) mod tidy -diff
	cd .ci/tools && $(GO) mod tidy -diff
	cd .ci/rules && $(GO) mod tidy -diff
	cd .ci/charts && $(GO) mod tidy -diff
	$(GO) vet $(PACKAGES)

check-chart: ## Lint and render the Helm chart, and validate what it makes
	GO="$(GO)" .ci/check-chart

clean: ## Remove what was built
	rm -rf bin
