#!/usr/bin/env bash
# Builds the extension from the checkout's sources into the environment.
# Sources: 4e95f04f9adfedbb4d8e50131ebd35261cc92430bd0095ad5dd83fff858e2d9c
set -euo pipefail
python -m pip install --no-deps --no-build-isolation "${RECSYS_CHECKOUT:-$PWD}/rust_sessionizer"
