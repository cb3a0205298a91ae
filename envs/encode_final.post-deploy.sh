#!/usr/bin/env bash
# Builds the extension from the checkout's sources into the environment.
# Sources: 28f5783b42ef60f25dc037ef49d676819daa924e2a0ca1f81381ec0b734dcae1
set -euo pipefail
python -m pip install --no-deps --no-build-isolation "${RECSYS_CHECKOUT:-$PWD}/rust_sessionizer"
