#!/usr/bin/env bash
# How many seeds pass each code mark (base/mark.h) and see each kind of fault. Every mark in the sources is listed, and each has
# to be passed by at least 1 % of the seeds, unless tests/sim/unreached.txt says why it cannot be.
#   tests/sim/coverage.sh SIM FIRST LAST [JOBS] [LILIO-SIM'S ARGUMENT...]
set -euo pipefail
# shellcheck source=tests/sim/seeds.bash
. "$(dirname "$0")/seeds.bash"

usage="usage: coverage.sh SIM FIRST LAST [JOBS]"
sim=${1:?$usage} first=${2:?$usage} last=${3:?$usage} jobs=${4:-$(nproc)}
shift $(($# > 4 ? 4 : $#))
root=$(cd "$(dirname "$0")/../.." && pwd)
folder=$(mktemp -d "${TMPDIR:-/tmp}/lilio-coverage-XXXXXX")
trap 'rm -r "$folder"' EXIT
seeds_run "$sim" "$first" "$last" 0 "$jobs" "$folder" --marks "$@"

cd "$root"
grep -rhoE --include='*.[ch]' 'LILIO_MARK\("[^"]+"\)' base codec proto osd coordinator client tests/sim |
    sed 's/.*("\(.*\)")/\1/' | sort -u >"$folder/marks"
well=$(grep -lx 'exit 0' "$folder"/*.out | wc -l)
sed -n 's/^mark \([^ ]*\) .*/\1/p' "$folder"/*.out | sort | uniq -c >"$folder/passed"
echo "$well of $((last - first + 1)) seeds ran well"
awk -v well="$well" '
    FILENAME ~ /passed$/ { seeds[$2] = $1; next }
    FILENAME ~ /unreached/ { if ($1 != "#") excused[$1] = 1; next }
    { share = well ? 100 * seeds[$1] / well : 0
      wrong = excused[$1] ? share > 0 : share < 1
      note = !wrong ? (excused[$1] ? "   (cannot be)" : "") : (excused[$1] ? "   CAN BE" : "   TOO FEW")
      printf "%6.1f %%  %s%s\n", share, $1, note
      count += wrong }
    END { printf "%d marks, %d of them wrong\n", FNR, count; exit count > 0 }
' "$folder/passed" tests/sim/unreached.txt "$folder/marks" | sort -n
[ "${PIPESTATUS[0]}" = 0 ]
