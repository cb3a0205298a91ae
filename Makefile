# From a shop's event log to a served next-item recommender. `make help` lists the goals.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

PYTHON ?= python3
CORES ?= $(shell nproc 2>/dev/null || sysctl -n hw.ncpu)
TORCH_BACKEND ?=
VENV := .venv
BIN := $(VENV)/bin
GROUPS := workflow download events figures train export serve build test lint
UV_VERSION := $(shell sed -n 's/^uv==\([^ ;]*\).*/\1/p' requirements.lock)
RUST := $(shell find rust_sessionizer -name target -prune -o -type f \( -name '*.rs' -o -name '*.toml' -o -name '*.lock' -o -name '*.py' -o -name '*.pyi' \) -print)

export MLFLOW_DISABLE_TELEMETRY := true
export UV_NO_PROGRESS := 1

.PHONY: help run test lint bench bench-train serve report clean setup check lock envs

help: ## list the goals
	@echo "make run            the whole pipeline on the demo shop (or: make run CONFIG=my-shop.yaml), on $(CORES) cores"
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/\1\t\2/p' $(MAKEFILE_LIST) | grep -v '^run' | while IFS=$$'\t' read -r goal text; do printf 'make %-14s %s\n' "$$goal" "$$text"; done
	@echo "TORCH_BACKEND=cpu   installs the small torch without CUDA; CORES=N sets the number of cores"

check:
	@sh tools/check_machine.sh "$(PYTHON)" "$(VENV)" "$(TORCH_BACKEND)"

$(VENV)/.installed: requirements.lock pyproject.toml | check
	@echo "Setting up $(VENV) from requirements.lock"
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check uv==$(UV_VERSION)
	@$(BIN)/uv pip install --quiet --python $(BIN)/python $(if $(TORCH_BACKEND),--torch-backend $(TORCH_BACKEND)) \
		--constraint requirements.lock --requirement pyproject.toml $(addprefix --group ,$(GROUPS))
	@$(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps --constraint requirements.lock --editable .
	@touch $@

$(VENV)/.extension: $(RUST) $(VENV)/.installed
	@echo "Building the Rust extension"
	@$(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps --reinstall ./rust_sessionizer
	@touch $@

setup: check $(VENV)/.extension ## set up .venv from the lock and build the extension

run: setup ## the whole pipeline, then a summary
	@$(BIN)/recsys unlock
	@PATH="$(abspath $(BIN)):$$PATH" snakemake --cores $(CORES) $(if $(CONFIG),--configfile $(CONFIG))
	@$(BIN)/recsys summary $(if $(CONFIG),--configuration $(CONFIG))

test: setup ## every test: Rust, then Python, workflow and server
	cargo test --quiet --manifest-path rust_sessionizer/Cargo.toml
	PATH="$(abspath $(BIN)):$$PATH" $(BIN)/python -m pytest

lint: setup ## formatters, linters, types, the workflow's own lint
	$(BIN)/ruff check recsys tests benchmarks tools
	$(BIN)/ruff format --check recsys tests benchmarks tools
	$(BIN)/snakefmt --check Snakefile rules
	PATH="$(abspath $(BIN)):$$PATH" snakemake --lint
	$(BIN)/python -m mypy.stubtest rust_sessionizer
	cargo fmt --check --manifest-path rust_sessionizer/Cargo.toml --all
	cargo clippy --quiet --manifest-path rust_sessionizer/Cargo.toml --workspace --all-targets -- -D warnings

bench: setup bench-train ## the benchmarks' tables: sessionizing and training
	$(BIN)/python benchmarks/sessionize.py

bench-train: setup ## mini-batches a second of training: native, torch and, with AUTHORS=CHECKOUT, the authors' code
	$(BIN)/python benchmarks/train.py $(if $(AUTHORS),--authors $(AUTHORS))

serve: setup ## serve the registered champion until Ctrl-C
	@PATH="$(abspath $(BIN)):$$PATH" snakemake serve --cores 1 $(if $(CONFIG),--configfile $(CONFIG))

report: setup ## results/report/report.html, self-contained
	@mkdir -p results/report
	@PATH="$(abspath $(BIN)):$$PATH" snakemake $(if $(CONFIG),--configfile $(CONFIG)) --report results/report/report.html

lock: setup ## resolve requirements.lock anew, and the conda environments from it
	$(BIN)/uv pip compile --quiet --universal --python-version 3.11 pyproject.toml $(addprefix --group ,$(GROUPS)) \
		--no-annotate --no-header --no-emit-index-url --output-file requirements.lock
	$(MAKE) envs

envs: setup ## write envs/ and schemas/ anew, after a change of imports, pins, settings or the extension
	$(BIN)/recsys schema schemas/configuration.schema.json
	$(BIN)/python tools/environments.py

clean: ## remove all results but the tracking store
	@find results -mindepth 1 -maxdepth 1 ! -name mlflow ! -name .gitkeep -exec rm -rf {} +
