#!/usr/bin/env bash
# Builds the extension from the checkout's sources into the environment.
# Sources: b1c36a03a7ce879810699e684813d7275732f1119b99be39dd6ae0ad38d828d6
set -euo pipefail
python -m pip install --no-deps --no-build-isolation "${RECSYS_CHECKOUT:-$PWD}/rust_sessionizer"
