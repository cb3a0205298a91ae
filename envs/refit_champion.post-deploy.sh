#!/usr/bin/env bash
# Builds the extension from the checkout's sources into the environment.
# Sources: d192a2b450a45d98a95b4eadf803375cfce8993cea6765bfb470ddd02f2f5884
set -euo pipefail
python -m pip install --no-deps --no-build-isolation "${RECSYS_CHECKOUT:-$PWD}/rust_sessionizer"
