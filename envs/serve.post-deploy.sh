#!/usr/bin/env bash
# Builds the extension from the checkout's sources into the environment.
# Sources: b79e452c49ec1ed829fa60a1f40f1559a93f082a4e0d32ec13f810eb9c30799a
set -euo pipefail
python -m pip install --no-deps --no-build-isolation "${RECSYS_CHECKOUT:-$PWD}/rust_sessionizer"
