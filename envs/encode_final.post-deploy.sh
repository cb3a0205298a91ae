#!/usr/bin/env bash
# Builds the extension from the checkout's sources into the environment.
# Sources: 1024884bafc5dcabfab0792da18b77eab9c5ab3cf41237e0797644325b30480b
set -euo pipefail
python -m pip install --no-deps --no-build-isolation "${RECSYS_CHECKOUT:-$PWD}/rust_sessionizer"
