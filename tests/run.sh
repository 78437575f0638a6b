#!/usr/bin/env bash
# Installs what is needed, builds the check preset (warnings are errors) and runs every test through ctest.
#   tests/run.sh [PRESET] [ctest arguments ...]      PRESET: check (default), release, asan, tsan
set -euo pipefail
cd "$(dirname "$0")/.."

preset=check
case "${1-}" in
check | release | asan | tsan) preset=$1; shift ;;
esac
deploy/install-deps.sh
cmake --preset "$preset" >/dev/null
cmake --build --preset "$preset"
ctest --preset "$preset" "$@"
