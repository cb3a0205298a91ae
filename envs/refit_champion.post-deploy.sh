#!/usr/bin/env bash
# Builds the extension from the checkout's sources into the environment.
# Sources: b68892126111ef79abe0c2ad752cf323ac58e978390ca9397403ede7b7accd9f
set -euo pipefail
python -m pip install --no-deps --no-build-isolation "${RECSYS_CHECKOUT:-$PWD}/rust_sessionizer"
