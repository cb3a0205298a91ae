#!/usr/bin/env bash
# Builds the extension from the checkout's sources into the environment.
# Sources: 4ab16b7fbb49c1f84a74a19c78f32e5da73dd48722cf98bed7be52341f992bd9
set -euo pipefail
python -m pip install --no-deps --no-build-isolation "${RECSYS_CHECKOUT:-$PWD}/rust_sessionizer"
