#!/usr/bin/env bash
# From a clone to a stored file that survived the loss of two OSDs, a leader and a disk, each step as a user would type it.
#
#   deploy/quickstart.sh [--keep DIR] [FILE]
#
# Installs the dependencies, builds the release preset, starts a local cluster (3 coordinators, 6 OSDs, 4+2: nine processes,
# real sockets), stores FILE (default: 256 MiB made for the purpose), reads it back, kills two OSDs and the leader, reads again, brings
# them back, wipes a disk, rebuilds it, replaces a coordinator, verifies everything, stops and cleans up. --keep DIR leaves the
# cluster running in DIR.
set -euo pipefail

here=$(cd "$(dirname "$0")/.." && pwd)
keep= file=
while [ $# -gt 0 ]; do
    case $1 in
    --keep) [ $# -ge 2 ] || { echo "quickstart: --keep needs a folder" >&2; exit 2; }; keep=$2; shift 2 ;;
    --keep=*) keep=${1#--keep=}; shift ;;
    -h | --help) sed -n '2,10s/^# \{0,1\}//p' "$0"; exit 0 ;;
    -*) echo "quickstart: unknown option $1 (see --help)" >&2; exit 2 ;;
    *) [ -z "$file" ] || { echo "quickstart: one file at most" >&2; exit 2; }; file=$1; shift ;;
    esac
done
[ -z "$file" ] || [ -f "$file" ] || { echo "quickstart: $file: no such file" >&2; exit 3; }

work=$(mktemp -d)
cluster=${keep:-$work/cluster}
[ -z "$keep" ] || { mkdir -p "$keep" && cluster=$(cd "$keep" && pwd); }
[ -z "$file" ] || file=$(cd "$(dirname "$file")" && pwd)/$(basename "$file")
cli=$here/build/release/bin/lilio-ec

finish() {
    status=$?
    trap - EXIT INT TERM
    if [ -x "$cli" ] && [ -e "$cluster/lilio.yaml" ] && { [ -z "$keep" ] || [ $status -ne 0 ]; }; then
        "$cli" down --dir "$cluster" >/dev/null 2>&1 || true
    fi
    rm -rf "$work"
    exit $status
}
trap finish EXIT
trap 'exit 130' INT TERM

say() { printf '\n\033[1m# %s\033[0m\n' "$*"; }
# Prints a command as typed, runs it.
show() {
    printf '$ %s\n' "$*"
    "$@"
}
lilio() {
    printf '$ lilio-ec %s\n' "$*"
    "$cli" "$@"
}

say "Install what it needs and build it"
show "$here/deploy/install-deps.sh"
cd "$here"
programs=(lilio-ec lilio-coordinator lilio-osd)
printf '$ cmake --preset release && cmake --build --preset release --target %s\n' "${programs[*]}"
cmake --preset release >"$work/build.log" 2>&1 && cmake --build --preset release --target "${programs[@]}" >>"$work/build.log" 2>&1 || {
    tail -n 40 "$work/build.log"
    exit 1
}
tail -n 1 "$work/build.log"

if [ -z "$file" ]; then
    say "A file to store"
    file=$work/example.bin
    printf '$ head -c 268435456 /dev/urandom > example.bin\n'
    head -c 268435456 /dev/urandom >"$file"
fi
export LILIO_CONFIG=$cluster/lilio.yaml
compare() {
    printf '$ cmp %s back && echo identical\n' "$(basename "$file")"
    cmp "$file" "$work/back" && echo identical
    rm -f "$work/back"
}
# SIGKILL, as a crash or a pulled plug would do it.
kill_daemon() {
    local pid
    pid=$(cut -d' ' -f1 "$cluster/run/$1.pid")
    printf '$ kill -9 %s        # %s\n' "$pid" "$1"
    kill -9 "$pid"
    # Where nobody collects orphans it stays as a zombie, which is as good as gone.
    while [ -d "/proc/$pid" ] && ! grep -qs '^State:[[:space:]]*Z' "/proc/$pid/status"; do sleep 0.05; done
}

say "From nothing to a stored file"
lilio up --dir "$cluster" --coordinators 3 --detach
lilio mb first || [ $? -eq 4 ] # it is there when --keep names the same folder again
lilio put "$file" first/example
lilio get first/example "$work/back"
compare

say "Two of the six OSDs and the leading coordinator die; the bytes are still there"
leader=$("$cli" coordinator ls | awk '$2 == "leader" { print $1 }')
kill_daemon osd.1
kill_daemon osd.4
kill_daemon "$leader"
lilio get first/example "$work/back"
compare
lilio explain first/example | sed -n '1,6p;$p'

say "They come back"
lilio up --dir "$cluster" --detach
lilio osd ls
lilio coordinator ls

say "A disk is lost for good: wipe it, rebuild it, have it proven"
kill_daemon osd.3
show rm -rf "$cluster/osd.3"
lilio up --dir "$cluster" --detach
lilio osd rebuild 3

say "A coordinator's disk is lost: another member takes its place"
kill_daemon coordinator.1
show rm -rf "$cluster/coordinator.1"
lilio coordinator replace 1
lilio verify
lilio status

if [ -n "$keep" ]; then
    say "The cluster is left running"
    echo "export LILIO_CONFIG=$cluster/lilio.yaml"
    echo "stop it with: $cli down --dir $cluster"
else
    say "Stop and clean up"
    lilio down --dir "$cluster"
fi
