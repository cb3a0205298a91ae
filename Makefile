# From a shop's event log to a served next-item recommender. `make help` lists the goals.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

PYTHON ?= python3
CORES ?= $(shell nproc 2>/dev/null || sysctl -n hw.ncpu)
TORCH_BACKEND ?=
FUZZ_SECONDS ?= 10
CASES ?= 2000
LONG ?= 300
MINUTES ?= 5
VENV := .venv
BIN := $(VENV)/bin
GROUPS := workflow download events figures train combine tune export serve build test lint
UV_VERSION := $(shell sed -n 's/^uv==\([^ ;]*\).*/\1/p' requirements.lock)
RUST := $(shell find rust_sessionizer -name target -prune -o -type f \( -name '*.rs' -o -name '*.toml' -o -name '*.lock' -o -name '*.py' -o -name '*.pyi' \) -print)

SNAKEMAKE = PATH="$(abspath $(BIN)):$$PATH" snakemake
WHERE = $(if $(DIRECTORY),--directory $(DIRECTORY)) $(if $(CONFIG),--configfile $(CONFIG))
RESULTS = $(if $(DIRECTORY),$(DIRECTORY)/)results

export MLFLOW_DISABLE_TELEMETRY := true
export UV_NO_PROGRESS := 1
# Every stage starts an interpreter, twice as fast from kept bytecode, which container images often forbid to keep.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: help run test properties sanitize fuzz soak lint bench bench-sessionize bench-train bench-files bench-neighbours bench-accuracy \
	bench-serve serve report clean setup check lock envs docs

help: ## list the goals
	@echo "make run            the whole pipeline on the demo shop (or: make run CONFIG=my-shop.yaml), on $(CORES) cores"
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/\1\t\2/p' $(MAKEFILE_LIST) | grep -v '^run' | while IFS=$$'\t' read -r goal text; do printf 'make %-14s %s\n' "$$goal" "$$text"; done
	@echo "CONFIG=my-shop.yaml DIRECTORY=shops/my-shop   name the configuration, and a folder of its own, for run, serve and report"
	@echo "TORCH_BACKEND=cpu   installs the small torch without CUDA; CORES=N sets the number of cores"

check:
	@sh tools/check_machine.sh "$(PYTHON)" "$(VENV)" "$(TORCH_BACKEND)"

$(VENV)/.installed: requirements.lock pyproject.toml | check
	@echo "Setting up $(VENV) from requirements.lock; this takes a few minutes"
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check uv==$(UV_VERSION)
	@$(BIN)/uv pip install --quiet --python $(BIN)/python $(if $(TORCH_BACKEND),--torch-backend $(TORCH_BACKEND)) \
		--constraint requirements.lock --requirement pyproject.toml $(addprefix --group ,$(GROUPS))
	@$(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps --constraint requirements.lock --editable .
	@touch $@

$(VENV)/.extension: $(RUST) $(VENV)/.installed
	@echo "Building the Rust extension; the first time this takes some minutes too"
	@$(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps --reinstall ./rust_sessionizer
	@touch $@

setup: check $(VENV)/.extension ## set up .venv from the lock and build the extension

run: setup ## the whole pipeline, then a summary
	@$(if $(DIRECTORY),mkdir -p $(DIRECTORY))
	@$(BIN)/recsys validate $(CONFIG) $(if $(DIRECTORY),--directory $(DIRECTORY))
	@$(BIN)/recsys unlock $(DIRECTORY)
	@$(SNAKEMAKE) --cores $(CORES) $(WHERE)
	@$(BIN)/recsys summary $(RESULTS) $(if $(CONFIG),--configuration $(CONFIG))

test: setup ## every test: Rust, then Python, workflow and server
	cargo test --quiet --manifest-path rust_sessionizer/Cargo.toml
	PATH="$(abspath $(BIN)):$$PATH" $(BIN)/python -m pytest --numprocesses $(CORES) --dist loadfile --no-loadscope-reorder

soak: setup ## break the server for MINUTES: 20,000 broken requests, mixed load, killed workers, new and broken champions
	$(BIN)/python tools/soak.py --minutes $(MINUTES)

fuzz: setup ## feed damaged files to the readers of the extension, FUZZ_SECONDS for each of them
	$(BIN)/python tools/fuzz.py --seconds $(FUZZ_SECONDS)

properties: setup ## the property tests with many cases: CASES=2000 each
	PROPTEST_CASES=$(CASES) cargo test --quiet --manifest-path rust_sessionizer/Cargo.toml \
		--package sessionizer_core --package sessionizer_files --package sessionizer_live
	CASES=$(CASES) $(BIN)/python -m pytest --quiet tests/bindings

sanitize: ## the sessionizer's tests under AddressSanitizer, which a stable toolchain runs too when it is told to
	RUSTC_BOOTSTRAP=1 RUSTFLAGS=-Zsanitizer=address cargo test --quiet --manifest-path rust_sessionizer/Cargo.toml --package sessionizer_core \
		--target $$(rustc -vV | sed -n 's/^host: //p') --target-dir rust_sessionizer/target/sanitize

lint: setup ## formatters, linters, types, the workflow's own lint
	$(BIN)/ruff check recsys tests benchmarks tools
	$(BIN)/ruff format --check recsys tests benchmarks tools
	$(BIN)/snakefmt --check Snakefile rules
	PATH="$(abspath $(BIN)):$$PATH" snakemake --lint
	$(BIN)/python -m mypy.stubtest rust_sessionizer
	cargo fmt --check --manifest-path rust_sessionizer/Cargo.toml --all
	cargo clippy --quiet --manifest-path rust_sessionizer/Cargo.toml --workspace --all-targets -- -D warnings

bench: bench-sessionize bench-train bench-neighbours bench-serve ## the benchmarks' tables: sessionizing, training, session-kNN and serving

bench-sessionize: setup ## million events a second of sessionizing and the steps after it: EVENTS="1e6 1e7" chooses sizes
	$(BIN)/python benchmarks/sessionize.py $(EVENTS) --write
	$(BIN)/python benchmarks/steps.py --write

bench-files: setup ## logs in files, larger than memory: the table of benchmarks/sessionize_files.md
	$(BIN)/python benchmarks/sessionize_files.py --write

bench-train: setup ## mini-batches a second of training: native, torch and, with AUTHORS=CHECKOUT, the authors' code
	$(BIN)/python benchmarks/train.py $(if $(AUTHORS),--authors $(AUTHORS))

bench-neighbours: setup ## session-kNN: how fast an index is built, its size, and how long a query takes
	$(BIN)/python benchmarks/neighbours.py

bench-accuracy: setup ## every model on two public logs (RECSYS_DATA_DIR): quality, training time, time a query, size
	$(BIN)/python benchmarks/accuracy.py

bench-serve: setup ## the server under load beside its peers, over HTTP; needs wrk: ROWS="ours-* workers-long-20" chooses rows, LONG=300 seconds
	$(BIN)/python benchmarks/serve.py $(foreach row,$(ROWS),'$(row)') --long $(LONG) --write

serve: setup ## serve the registered champion until Ctrl-C
	@$(BIN)/recsys validate $(CONFIG) $(if $(DIRECTORY),--directory $(DIRECTORY))
	@$(SNAKEMAKE) serve --cores 1 $(WHERE)

report: setup ## results/report/report.html of a finished run, self-contained
	@test -e $(RESULTS)/champion/registered.json || { echo "There is no finished run under $(RESULTS)/ to report on; run \`make run$(if $(CONFIG), CONFIG=$(CONFIG))$(if $(DIRECTORY), DIRECTORY=$(DIRECTORY))\` first." >&2; exit 1; }
	@$(BIN)/recsys unlock $(DIRECTORY)
	@$(SNAKEMAKE) --cores $(CORES) --quiet all $(WHERE)
	@$(SNAKEMAKE) $(if $(wildcard $(RESULTS)/tune/best.yaml),tune all) --quiet all $(WHERE) --report results/report/report.html --report-stylesheet $(abspath report/style.css)
	@echo "$(RESULTS)/report/report.html ($$(du -h $(RESULTS)/report/report.html | cut -f1)): open it in any browser."

lock: setup ## resolve requirements.lock anew, and the conda environments from it
	$(BIN)/uv pip compile --quiet --universal --python-version 3.11 pyproject.toml $(addprefix --group ,$(GROUPS)) \
		--no-annotate --no-header --no-emit-index-url --output-file requirements.lock
	$(MAKE) envs

envs: setup ## write envs/ and schemas/ anew, after a change of imports, pins, settings or the extension
	$(BIN)/recsys schema schemas/configuration.schema.json
	$(BIN)/python tools/environments.py

docs: setup ## write the generated parts of the documentation anew: every key, every file, the rule graph
	$(BIN)/python tools/reference.py
	$(BIN)/python tools/filetable.py
	$(BIN)/python tools/rulegraph.py

clean: ## remove all results but the tracking store
	@find results -mindepth 1 -maxdepth 1 ! -name mlflow ! -name .gitkeep -exec rm -rf {} +
