#!/usr/bin/env bash
# Builds the extension from the checkout's sources into the environment.
# Sources: dd986f1b3bdfb4b390b2489d9314ee57673bcdb09f060202b7f090d9624c8184
set -euo pipefail
python -m pip install --no-deps --no-build-isolation "${RECSYS_CHECKOUT:-$PWD}/rust_sessionizer"
