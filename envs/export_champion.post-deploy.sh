#!/usr/bin/env bash
# Builds the extension from the checkout's sources into the environment.
# Sources: 7b31765dfdff99d04b54856ea8a5e7b6638dca1a7958557783c42f46617edad1
set -euo pipefail
python -m pip install --no-deps --no-build-isolation "${RECSYS_CHECKOUT:-$PWD}/rust_sessionizer"
