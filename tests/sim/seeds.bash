# Sourced by campaign.sh, coverage.sh and planted.sh: running seeds side by side, one file of output for each.

# A simulation that was built, if none is named.
seeds_sim() {
    local root
    root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
    for preset in release check asan; do
        [ -x "$root/build/$preset/bin/lilio-sim" ] && echo "$root/build/$preset/bin/lilio-sim" && return
    done
    echo "no lilio-sim in build/; name one" >&2
    return 1
}

# seed_run SIM SEED FILE [ARGUMENT...]   output and, in the last line, "exit N" go to FILE
seed_run() {
    local sim=$1 seed=$2 file=$3 code=0
    shift 3
    "$sim" --seed "$seed" "$@" >"$file" 2>&1 || code=$?
    echo "exit $code" >>"$file"
}
seed_code() { sed -n '$s/^exit //p' "$1"; }
seed_message() { sed -n 's/^FAILED/FAILED/p' "$1" | head -1; }

# seeds_run SIM FIRST LAST END JOBS FOLDER [ARGUMENT...]
# Runs the seeds until the last, until the time END (seconds since 1970; 0 = never), or until FOLDER/stop is there.
seeds_run() {
    local sim=$1 first=$2 last=$3 end=$4 jobs=$5 folder=$6
    shift 6
    local job
    for ((job = 0; job < jobs; job++)); do
        (
            for ((seed = first + job; seed <= last; seed += jobs)); do
                [ -e "$folder/stop" ] && break
                [ "$end" -gt 0 ] && [ "$(date +%s)" -ge "$end" ] && break
                seed_run "$sim" "$seed" "$folder/$seed.running" "$@"
                mv "$folder/$seed.running" "$folder/$seed.out"
            done
        ) &
    done
    while [ -n "$(jobs -rp)" ]; do
        wait -n || true # interrupted: the runs under way end by themselves
    done
}
