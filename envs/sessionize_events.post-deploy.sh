#!/usr/bin/env bash
# Builds the extension from the checkout's sources into the environment.
# Sources: 91dd313542483b8155c2dd66955cc5c50d22724af8a0f3d8a83c13fd9a51cf44
set -euo pipefail
python -m pip install --no-deps --no-build-isolation "${RECSYS_CHECKOUT:-$PWD}/rust_sessionizer"
