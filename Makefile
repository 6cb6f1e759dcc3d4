# make help says what there is. What a command does is in tests/driver.

CARGO ?= cargo
DEV = $(CARGO) run --bin portcullis-dev --

.PHONY: help test test-imported bench demo modules nginx-module deb deb-test sbom compiler

help:
	@echo 'make test              format, lints, unit tests, tests on real servers; ONLY=word: what matches'
	@echo 'make test-imported     the tests on real servers once more, each on the files of a Web Agent 2024.3'
	@echo 'make bench             measurements, and what takes too long for every day; docs in tests/bench'
	@echo 'make demo              both servers with the agent, a tour, and then yours until Ctrl-C'
	@echo 'make demo ONCE=1       ends after the tour, with an exit code'
	@echo 'make demo AM=openam    with a real OpenAM instead of the simulator'
	@echo 'make modules           builds both modules and agentadmin, in release mode'
	@echo 'make nginx-module NGINX=dir  the module for any tree of nginx source; OPTIONS="--more --of=configure"'
	@echo 'make deb               builds the Debian packages'
	@echo 'make deb-test          builds, installs, uses, upgrades and purges them on Debian 12 and 13: an hour, as root'
	@echo 'make sbom              writes down what the modules and agentadmin are made of (CycloneDX)'

test: compiler
	@$(DEV) test --only '$(ONLY)'

test-imported: compiler
	@$(DEV) test --imported --only '$(ONLY)'

# For reading: what is printed passes and fails nothing, but for the models.
bench: compiler
	LOOM_MAX_PREEMPTIONS=3 $(CARGO) test -p portcullis-shm-model
	PORTCULLIS_KILL_SECONDS=60 $(CARGO) test --test lifecycle -- killed stopped --nocapture --test-threads 1
	$(CARGO) bench --profile dev --bench cached_allow --bench hung_am --bench told --bench reloads

demo: compiler
	@$(DEV) demo --am '$(or $(AM),simulator)' $(if $(ONCE),--once)

modules: compiler
	@$(DEV) modules

nginx-module: compiler
	@test -n '$(NGINX)' || { echo 'Say which: make nginx-module NGINX=/path/to/nginx-source'; exit 2; }
	@$(DEV) nginx-module '$(NGINX)' -- $(OPTIONS)

deb: compiler
	@$(DEV) deb

# Not in `make test`: it takes too long for every day.
deb-test: compiler
	@$(DEV) deb-test $(or $(RELEASE),bookworm trixie)

sbom: compiler
	@$(DEV) sbom

# Rust needs a linker before it can build the program that installs the other packages.
compiler:
	@command -v cc >/dev/null || { echo 'Installing gcc (asks for root)'; \
		$(if $(filter 0,$(shell id -u)),,sudo) sh tests/driver/install-packages.sh gcc libc6-dev; }
