#!/usr/bin/env bash
# Builds the extension from the checkout's sources into the environment.
# Sources: 5772d1112f7c099d3013189447258145dafe1dafd0bb457b9854c8e097e25f26
set -euo pipefail
python -m pip install --no-deps --no-build-isolation "${RECSYS_CHECKOUT:-$PWD}/rust_sessionizer"
