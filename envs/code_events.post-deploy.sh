#!/usr/bin/env bash
# Builds the extension from the checkout's sources into the environment.
# Sources: a1376bb4a30ed2503f56a207a135ea7972e6e51e80826b372c52fabfb8f44f6b
set -euo pipefail
python -m pip install --no-deps --no-build-isolation "${RECSYS_CHECKOUT:-$PWD}/rust_sessionizer"
