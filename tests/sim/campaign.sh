#!/usr/bin/env bash
# Runs fresh seeds for hours, or given ones, and says what came of them.
#
#   tests/sim/campaign.sh HOURS [JOBS]                 fresh seeds, begun by the clock
#   tests/sim/campaign.sh --seeds FIRST LAST [JOBS]    these
#
# Before that: --sim PATH (else what was built last in build/), --first SEED, --cpu-seconds S (per seed), --set NAME=VALUE,
# --plant NAME, --scenario NAME (as lilio-sim's). JOBS: how many at a time, as many as there are processors if not given.
# Ctrl-C ends it with the summary. Exit status 1 if any seed failed; the output of those stays in the folder that is named.
set -euo pipefail
# shellcheck source=tests/sim/seeds.bash
. "$(dirname "$0")/seeds.bash"

sim='' first='' last='' hours='' arguments=()
while [ $# -gt 0 ]; do
    case $1 in
    --sim) sim=$2 && shift 2 ;;
    --first) first=$2 && shift 2 ;;
    --seeds) first=$2 last=$3 && shift 3 ;;
    --cpu-seconds | --set | --plant | --scenario) arguments+=("$1" "$2") && shift 2 ;;
    *) break ;;
    esac
done
if [ -z "$last" ]; then
    hours=${1:?"usage: campaign.sh HOURS [JOBS], or campaign.sh --seeds FIRST LAST [JOBS]"}
    shift
fi
jobs=${1:-$(nproc)}
sim=${sim:-$(seeds_sim)}
first=${first:-$(date +%s)0000}
end=0
[ -z "$hours" ] || end=$(awk -v now="$(date +%s)" -v hours="$hours" 'BEGIN { printf "%d", now + hours * 3600 }')
last=${last:-$((first + 1000000000))}

folder=$(mktemp -d "${TMPDIR:-/tmp}/lilio-sim-XXXXXX")
# What ran well is kept as one line: virtual seconds, calls per second under faults, commits, times real time, CPU seconds,
# calls per second over all of the work.
harvest() {
    local file
    for file in "$folder"/*.out; do
        [ -e "$file" ] || continue
        [ "$(seed_code "$file")" = 0 ] || continue
        awk '/calls \(/ { commits = $6; calls = substr($3, 2) + 0; work = $(NF - 3) }
             /^well:/ { print $2, calls, commits, $NF + 0, $(NF - 3), work }' "$file" >>"$folder/well"
        rm "$file"
    done
}
trap 'touch "$folder/stop"; echo "ending after the seeds under way"' INT TERM
echo "seeds from $first on, $jobs at a time, $("$sim" --version)"
began=$(date +%s)
touch "$folder/well"
seeds_run "$sim" "$first" "$last" "$end" "$jobs" "$folder" "${arguments[@]}" &
running=$!
while kill -0 $running 2>/dev/null; do
    sleep 2 || true
    harvest
done
harvest

# column N   the N-th number of all lines of those that ran well, in order; nth SHARE   one of them
column() { awk -v n="$1" '{ print $n }' "$folder/well" | sort -n; }
nth() { awk -v share="$1" '{ all[NR] = $1 } END { print NR ? all[int(1 + share * (NR - 1))] : 0 }'; }
sum() { awk '{ all += $1 } END { printf "%.'"$2"'f", all / '"$1"' }'; }
well=$(wc -l <"$folder/well")
failed=$(find "$folder" -name '*.out' | wc -l)
echo "$((well + failed)) seeds in $(($(date +%s) - began)) s: $well well, $failed failed;" \
    "$(column 1 | sum 3600 1) virtual hours, $(column 5 | sum 3600 1) CPU hours, $(column 4 | nth 0.5)x real time (median)"
echo "calls per virtual second: median $(column 6 | nth 0.5), least $(column 6 | nth 0)" \
    "(under faults alone: median $(column 2 | nth 0.5), least $(column 2 | nth 0));" \
    "commits: median $(column 3 | nth 0.5), least $(column 3 | nth 0), $(column 3 | sum 1 0) in all"
if [ "$failed" = 0 ]; then
    rm -r "$folder"
    exit 0
fi
for file in "$folder"/*.out; do
    echo "seed $(basename "$file" .out): $(seed_message "$file")"
    sed -n 's/^ *again:/  again:/p' "$file" | tail -1
done
echo "what they printed is in $folder"
exit 1
