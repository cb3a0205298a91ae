#!/usr/bin/env bash
# Builds the extension from the checkout's sources into the environment.
# Sources: 22256429b8ceacd8d00895d59d99267ff5714ea9e12b0efe10d559e6784fac78
set -euo pipefail
python -m pip install --no-deps --no-build-isolation "${RECSYS_CHECKOUT:-$PWD}/rust_sessionizer"
