#!/usr/bin/env bash
# Builds the extension from the checkout's sources into the environment.
# Sources: 70baee12dd8a3148ece2dc7cff5d9f12bbe1a1982e8f790bca99a8027f8ec540
set -euo pipefail
python -m pip install --no-deps --no-build-isolation "${RECSYS_CHECKOUT:-$PWD}/rust_sessionizer"
