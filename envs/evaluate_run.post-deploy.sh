#!/usr/bin/env bash
# Builds the extension from the checkout's sources into the environment.
# Sources: 50f577f69342f82230e339e49b32a2dee7e9e949d852390cabe8cc2509f59712
set -euo pipefail
python -m pip install --no-deps --no-build-isolation "${RECSYS_CHECKOUT:-$PWD}/rust_sessionizer"
