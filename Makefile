# parti: make <target>. Needs Go and git; `check` also gcc, for the race detector.

TOOL := go tool -modfile=$(CURDIR)/tools/go.mod
LINT := $(TOOL) golangci-lint
# Modules of their own, so that what they need stays out of users' go.sum.
NESTED := $(filter-out ./tools/,$(dir $(shell find . -mindepth 2 -name go.mod -not -path '*/testdata/*')))
# Tests of wall time have the machine for themselves.
QUIET = $(shell go list ./... | grep -v -e /test/wall -e /test/observe)
SEEDS ?= 1000
FUZZTIME ?= 30s
MOVES ?= 10000
KILLS ?= 30
SEED ?= 1
PAIRS ?= 9

.PHONY: help demo bench-fleet test wall check observe sim model soak soak-kills soak-r3 soak-pauses wall-fenced bench bench-throughput fuzz vuln lint fmt clean fmt-check tidy vet race nested
.DEFAULT_GOAL := help

help: ## this list
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / { printf "  make %-16s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: ## four workers count words; one is killed, one joins; nothing is lost
	go run ./cmd/parti demo $(ARGS)

test: ## the tests, without the race detector
	go test -timeout=20m $(QUIET)
	go test -timeout=20m ./test/wall

wall: ## what it costs to start fleets of 64 and 200, in figures
	go test -count=1 -v ./test/wall

check: fmt-check tidy vet lint test nested race ## everything that a change must pass

observe: ## a real Prometheus (on the PATH) loads the alerts and watches the demo
	PARTI_OBSERVE=1 go test -count=1 -run Promtool ./deploy
	PARTI_OBSERVE=1 go test -count=1 ./test/observe

sim: ## simulate fleets from SEEDS seeds (make sim SEEDS=1000)
	go test ./internal/sim -count=1 -timeout=0 -run '^TestSim$$' -args -seeds=$(SEEDS)

model: ## check every history of a model of the handoff (needs Debian's spin)
	./model/check.sh

soak: ## move partitions MOVES times under load on all kinds of streams (make soak MOVES=600 SEED=1)
	go test ./test/soak -count=1 -timeout=0 -v -run '^TestSoak$$' -args -moves=$(MOVES) -seed=$(SEED)

soak-kills: ## kill KILLS workers under load
	go test ./test/soak -count=1 -timeout=0 -v -run '^TestKills$$' -args -kills=$(KILLS) -seed=$(SEED)

soak-r3: ## move partitions on three nodes, and restart the one that leads the stream
	go test ./test/soak -count=1 -timeout=0 -v -run '^TestR3$$' -args -r3 -seed=$(SEED)

soak-pauses: ## how long MOVES moved partitions rest, 20 at a time, while nothing else happens
	go test ./test/soak -count=1 -timeout=0 -v -run '^TestPauses$$' -args -pauses=$(MOVES) -seed=$(SEED)

wall-fenced: ## suspend and cut off workers that write to a store, for 5 to 60 s
	go test ./test/wall -count=1 -timeout=0 -v -run '^TestExclusiveWritesAreFenced$$' -args -spells=5s,15s,30s,60s

bench: ## benchmarks; compare two outputs with `make benchstat A=old B=new`
	go test -run '^$$' -bench . -benchmem ./...

bench-fleet: ## fleets of processes: recovery, moves, idle cost; SHORT=1 five minutes, LONG=1 an hour and more
	go run ./cmd/parti bench $(if $(SHORT),--short) $(if $(LONG),--long) $(ARGS)

bench-throughput: ## the durable helper against plain nats.go consumers, PAIRS=9 pairs of runs
	go test -count=1 -timeout=0 -v ./test/throughput -args -pairs=$(PAIRS)

fuzz: ## every fuzz test, each for FUZZTIME (30s)
	@set -e; for pkg in $$(go list ./...); do \
	  for f in $$(go test -list '^Fuzz' $$pkg | grep '^Fuzz' || true); do \
	    echo "$$pkg $$f"; go test -run '^$$' -fuzz "^$$f\$$" -fuzztime $(FUZZTIME) $$pkg; \
	  done; done

vuln: ## known vulnerabilities in what we call (asks the public database)
	$(TOOL) govulncheck ./...

lint: ## golangci-lint with .golangci.yml
	$(LINT) run ./...

fmt: ## format in place (gofumpt, gci)
	$(LINT) fmt

clean: ## remove what the targets leave behind
	rm -rf bin
	go clean -testcache

# The parts of check.
fmt-check:
	$(LINT) fmt --diff
tidy:
	go mod tidy -diff
	go -C tools mod tidy -diff
vet:
	go vet ./...
race:
	go test -race -timeout=30m $(QUIET)
	# -short: a minute of waiting for a cluster shows the detector nothing new.
	go test -race -timeout=30m -short ./test/wall
nested:
	@set -e; for dir in $(NESTED); do echo "module $$dir"; ( cd $$dir && \
	  go mod tidy -diff && go vet ./... && $(LINT) run ./... && go test -race ./... ); done

benchstat:
	$(TOOL) benchstat $(A) $(B)
