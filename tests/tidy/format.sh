#!/usr/bin/env bash
# Is every C file formatted as .clang-format says? Exit 77 (skipped) where clang-format 14 is not installed.
#   tests/tidy/format.sh            the tree
#   tests/tidy/format.sh --canary   a badly formatted file must be found
set -euo pipefail
cd "$(dirname "$0")/../.."

formatter=$(command -v clang-format-14 || command -v clang-format || true)
if [ -z "$formatter" ] || ! "$formatter" --version | grep -q 'version 14\.'; then
    echo "skipped: clang-format 14 is not there (deploy/install-deps.sh --dev)"
    exit 77
fi
if [ "${1-}" = --canary ]; then
    work=$(mktemp -d)
    trap 'rm -rf "$work"' EXIT
    cp .clang-format "$work"
    printf 'int  x( void ){return 1 ;}\n' >"$work/canary.c"
    if "$formatter" --dry-run -Werror "$work/canary.c" 2>/dev/null; then
        echo "the planted file was not found"
        exit 1
    fi
    exit 0
fi
find base codec proto osd coordinator client tools tests -name '*.[ch]' -print0 | xargs -0 "$formatter" --dry-run -Werror
