#!/usr/bin/env bash
# Builds the extension from the checkout's sources into the environment.
# Sources: 80344d7abfb85ad66d72f0e4be6ee7a7d0dead1747d5a6c173205eedeeec15b6
set -euo pipefail
python -m pip install --no-deps --no-build-isolation "${RECSYS_CHECKOUT:-$PWD}/rust_sessionizer"
