#!/usr/bin/env bash
# Builds the extension from the checkout's sources into the environment.
# Sources: 7443a7cca4429a26b74a24c076f1b3d33a0339f783904f7ead26279dc0382741
set -euo pipefail
python -m pip install --no-deps --no-build-isolation "${RECSYS_CHECKOUT:-$PWD}/rust_sessionizer"
