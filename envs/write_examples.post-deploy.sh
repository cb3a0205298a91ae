#!/usr/bin/env bash
# Builds the extension from the checkout's sources into the environment.
# Sources: 0d6d22350a9991e5c94cead60dd65e2971b80d01cd0767f2a3554a3a5084e089
set -euo pipefail
python -m pip install --no-deps --no-build-isolation "${RECSYS_CHECKOUT:-$PWD}/rust_sessionizer"
