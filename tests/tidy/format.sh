#!/usr/bin/env bash
# Every C file is as clang-format 14 would write it. Exit 77 (skipped, and ctest says so) where that is not installed.
#   format.sh             checks the tree
#   format.sh --canary    a badly formatted file must be found
set -euo pipefail
cd "$(dirname "$0")/../.."

if ! clang-format --version 2>/dev/null | grep -q 'version 14'; then
    echo "clang-format 14 is not installed: deploy/install-deps.sh --dev"
    exit 77
fi
if [ "${1-}" = --canary ]; then
    ! printf 'int  x ;\n' | clang-format --dry-run -Werror --assume-filename=canary.c 2>/dev/null
    exit
fi
git ls-files '*.c' '*.h' | xargs -P 2 -n 20 clang-format --dry-run -Werror
