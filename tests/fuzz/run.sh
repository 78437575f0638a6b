#!/usr/bin/env bash
# Builds the fuzz preset and runs every target for SECONDS (default 60) each; finds stay in build/fuzz/finds.
#   tests/fuzz/run.sh [SECONDS] [TARGET ...]
set -euo pipefail
cd "$(dirname "$0")/../.."

seconds=${1:-60}
shift || true
cmake --preset fuzz -DBUILD_TESTING=ON >/dev/null
cmake --build --preset fuzz --target fuzzers
mkdir -p build/fuzz/finds
if [ $# -eq 0 ]; then
    targets=(build/fuzz/bin/fuzz_*)
else
    targets=("${@/#/build/fuzz/bin/}")
fi
for target in "${targets[@]}"; do
    name=$(basename "$target")
    mkdir -p "build/fuzz/corpus/$name"
    echo "== $name, ${seconds} s"
    "$target" -max_total_time="$seconds" -max_len=65536 -timeout=10 -rss_limit_mb=1024 -print_final_stats=1 \
        -artifact_prefix="build/fuzz/finds/$name-" "build/fuzz/corpus/$name" "tests/fuzz/corpus/$name" 2>&1 | tail -n 12
done
