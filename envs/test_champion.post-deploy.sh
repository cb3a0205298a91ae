#!/usr/bin/env bash
# Builds the extension from the checkout's sources into the environment.
# Sources: 04b0f8e39325a419f6912f9439bc3ee2594b0a02f379dab742726827581a1307
set -euo pipefail
python -m pip install --no-deps --no-build-isolation "${RECSYS_CHECKOUT:-$PWD}/rust_sessionizer"
