#!/usr/bin/env bash
# Builds the extension from the checkout's sources into the environment.
# Sources: 44c3d84f2d6f9d6537db87ab9830c325722ad1bff15db5b26a9c32ceb7ab915c
set -euo pipefail
python -m pip install --no-deps --no-build-isolation "${RECSYS_CHECKOUT:-$PWD}/rust_sessionizer"
