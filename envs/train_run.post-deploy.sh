#!/usr/bin/env bash
# Builds the extension from the checkout's sources into the environment.
# Sources: 0cb1b96f5bb53be430372f6ac90784df9f70ccdfc4695fc238ae7f895d5f41b5
set -euo pipefail
python -m pip install --no-deps --no-build-isolation "${RECSYS_CHECKOUT:-$PWD}/rust_sessionizer"
