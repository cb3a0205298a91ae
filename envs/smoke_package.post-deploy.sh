#!/usr/bin/env bash
# Builds the extension from the checkout's sources into the environment.
# Sources: ad13a18ad96114da80133e8c50616b299c1448eefde9014e641e20dc02afc9c8
set -euo pipefail
python -m pip install --no-deps --no-build-isolation "${RECSYS_CHECKOUT:-$PWD}/rust_sessionizer"
