#!/usr/bin/env bash
# Builds the extension from the checkout's sources into the environment.
# Sources: 9953822e01c3851dd09c21d4e864b9feb8f484c70f570013bdc27cb5c0d5a148
set -euo pipefail
python -m pip install --no-deps --no-build-isolation "${RECSYS_CHECKOUT:-$PWD}/rust_sessionizer"
