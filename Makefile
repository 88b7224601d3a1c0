# parti: make <target>. Needs Go and git; `check` also gcc, for the race detector.

TOOL := go tool -modfile=$(CURDIR)/tools/go.mod
LINT := $(TOOL) golangci-lint
# Modules of their own, so that what they need stays out of users' go.sum.
NESTED := $(filter-out ./tools/,$(dir $(shell find . -mindepth 2 -name go.mod -not -path '*/testdata/*')))
# Tests of wall time have the machine for themselves.
QUIET = $(shell go list ./... | grep -v -e /test/wall -e /test/observe)
SEEDS ?= 2000
EVERY ?= 1
FUZZTIME ?= 30s
MOVES ?= 10000
KILLS ?= 30
SEED ?= 1
PAIRS ?= 9
FAULTS ?= 200
# The last patch versions of the servers that make compat tries.
SERVERS ?= 2.9.25,2.10.29,2.11.17,2.12.15,2.14.9,2.15.2

.PHONY: help demo bench-fleet test wall check observe sim mutants model soak soak-kills soak-r3 soak-pauses wall-fenced chaos compat bench bench-compare bench-goals bench-scale bench-throughput fuzz vuln lint fmt clean fmt-check tidy vet race nested
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

sim: ## simulate fleets from SEEDS seeds (make sim SEEDS=2000)
	go test ./internal/sim -count=1 -timeout=0 -v -run '^TestSim$$' -args -seeds=$(SEEDS)

mutants: ## plant mistakes, and demand that the simulation or a test finds each (EVERY=4: every fourth only)
	go test ./test/mutants -count=1 -timeout=0 -v -run '^TestPlanted$$' -args -plant -every=$(EVERY)

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

chaos: ## break workers, their network and the servers FAULTS times (make chaos FAULTS=30 SEED=1)
	cd test/chaos && go test . -count=1 -timeout=0 -v -run '^TestChaos$$' -args -faults=$(FAULTS) -seed=$(SEED)

compat: ## conformance, moves and a short chaos on the versions of nats-server named by SERVERS
	go test ./test/compat -count=1 -timeout=0 -v -run '^TestMatrix$$' -args -versions=$(SERVERS) -seed=$(SEED)

bench: ## benchmarks; compare two outputs with `make benchstat A=old B=new`
	go test -run '^$$' -bench . -benchmem ./...

bench-compare: ## placement beside public libraries, and its charts in docs/charts
	go -C bench run . compare -charts $(CURDIR)/docs/charts $(ARGS)

bench-goals: ## the goals of the placement beside what is measured now, on fresh seeds (ARGS="-seed 50000")
	go -C bench run . goals $(ARGS)

bench-scale: ## a million partitions on a thousand workers in ten processes; charts in docs/charts
	go run ./cmd/parti bench scale --report-only --json $(CURDIR)/bin/scale.json $(ARGS)
	go -C bench run . scale -json $(CURDIR)/bin/scale.json -charts $(CURDIR)/docs/charts

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
