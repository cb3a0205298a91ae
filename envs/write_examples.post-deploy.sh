#!/usr/bin/env bash
# Builds the extension from the checkout's sources into the environment.
# Sources: 13c3b07a29be8a813ffe60e37f5a7e909c45474e0ea0546526e69e1ed5cba8cd
set -euo pipefail
python -m pip install --no-deps --no-build-isolation "${RECSYS_CHECKOUT:-$PWD}/rust_sessionizer"
