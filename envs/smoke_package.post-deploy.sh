#!/usr/bin/env bash
# Builds the extension from the checkout's sources into the environment.
# Sources: cf3f0c79264ddf0027263317a8e2c72fff6b37ccd5dd2dece2c020475c72fb12
set -euo pipefail
python -m pip install --no-deps --no-build-isolation "${RECSYS_CHECKOUT:-$PWD}/rust_sessionizer"
