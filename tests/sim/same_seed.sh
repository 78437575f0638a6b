#!/bin/sh
# One seed, run twice, gives one trace; another seed gives another. Usage: same_seed.sh LILIO-SIM [ARGUMENT...]
set -eu
sim=$1
shift
trace() { "$sim" "$@" | sed -n 's/.*trace \([0-9a-f]*\).*/\1/p'; }
first=$(trace --seed 7 "$@")
second=$(trace --seed 7 "$@")
other=$(trace --seed 8 "$@")
[ -n "$first" ] || { echo "no trace was printed"; exit 1; }
[ "$first" = "$second" ] || { echo "seed 7 gave $first, then $second"; exit 1; }
[ "$first" != "$other" ] || { echo "seeds 7 and 8 both gave $first"; exit 1; }
