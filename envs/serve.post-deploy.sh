#!/usr/bin/env bash
# Builds the extension from the checkout's sources into the environment.
# Sources: 3e3af0cb543563fa9e06a7ab740f9f275258a2d1788f546683d2d3688dbfa7e7
set -euo pipefail
python -m pip install --no-deps --no-build-isolation "${RECSYS_CHECKOUT:-$PWD}/rust_sessionizer"
