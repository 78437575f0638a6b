#!/usr/bin/env bash
# Could the simulation fail? Each planted bug (base/planted.h) is switched on, and seeds are run until one ends with a wrong
# result or a crash. A seed that fails without the bug too does not count.
#   tests/sim/planted.sh [SIM] [--max N] [--first SEED] [--jobs N] [--cpu-seconds S] [--set NAME=VALUE]... [NAME...]
# Without names: every bug in the sources. Prints the seeds it took and what the checkers said; exit status 1 if one of them was
# not found within N seeds (2000).
set -euo pipefail
# shellcheck source=tests/sim/seeds.bash
. "$(dirname "$0")/seeds.bash"

sim='' max=2000 first=1 jobs=$(nproc) arguments=(--cpu-seconds 120) names=()
while [ $# -gt 0 ]; do
    case $1 in
    --max) max=$2 && shift 2 ;;
    --first) first=$2 && shift 2 ;;
    --jobs) jobs=$2 && shift 2 ;;
    --cpu-seconds | --set) arguments+=("$1" "$2") && shift 2 ;;
    */*) sim=$1 && shift ;;
    *) names+=("$1") && shift ;;
    esac
done
sim=${sim:-$(seeds_sim)}
root=$(cd "$(dirname "$0")/../.." && pwd)
if [ ${#names[@]} = 0 ]; then
    mapfile -t names < <(cd "$root" && grep -rhoE --include='*.c' 'LILIO_PLANTED\("[a-z_]+"\)' base codec proto osd coordinator client |
        sed 's/.*("\(.*\)")/\1/' | sort -u)
fi
folder=$(mktemp -d "${TMPDIR:-/tmp}/lilio-planted-XXXXXX")
trap 'rm -r "$folder"' EXIT

# Whether the seed fails with the bug, and is well without it.
found() {
    local file=$folder/$2.out
    case $(seed_code "$file") in
    2 | 3) ;;
    *) return 1 ;;
    esac
    seed_run "$sim" "$2" "$folder/without" "${arguments[@]}"
    [ "$(seed_code "$folder/without")" = 0 ] && return 0
    echo "$1: seed $2 fails without it too: $(seed_message "$folder/without")"
    return 1
}

# search NAME   as many seeds at a time as there are jobs; the first of them that fails is the one
search() {
    local seed at
    for ((seed = first; seed < first + max; seed += jobs)); do
        rm -f "$folder"/*.out
        seeds_run "$sim" "$seed" $((seed + jobs - 1)) 0 "$jobs" "$folder" --plant "$1" "${arguments[@]}"
        for ((at = seed; at < seed + jobs; at++)); do
            if found "$1" "$at"; then
                echo "$1: found by seed $at, the $((at - first + 1)). of them: $(seed_message "$folder/$at.out")"
                return 0
            fi
        done
    done
    echo "$1: NOT FOUND within $max seeds"
    return 1
}

missed=0
for name in "${names[@]}"; do
    search "$name" || missed=$((missed + 1))
done
echo "${#names[@]} planted bugs, $missed not found"
[ "$missed" = 0 ]
