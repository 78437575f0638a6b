# Bash completion of lilio-ec: commands, options, folders and files, and names of buckets where the cluster answers at once.
_lilio_ec() {
    local current=${COMP_WORDS[COMP_CWORD]} previous=${COMP_WORDS[COMP_CWORD - 1]}
    local everywhere='--config --json --timeout --help --version'
    local command= i
    for ((i = 1; i < COMP_CWORD; i++)); do
        case ${COMP_WORDS[i]} in
        --config | --timeout) ((i++)) ;;
        -*) ;;
        osd | coordinator | scrub | gc) command=${COMP_WORDS[i]} ;;
        *)
            command=${command:+$command }${COMP_WORDS[i]}
            break
            ;;
        esac
    done
    case $previous in
    --config) COMPREPLY=($(compgen -f -- "$current")) && return ;;
    --dir | -d | --disk) COMPREPLY=($(compgen -d -- "$current")) && return ;;
    --timeout | --profile | --quorum | --listen | --size | --seconds | --concurrency | --range | --meta | --type | --osd | --rate | --deadline) return ;;
    --priority) COMPREPLY=($(compgen -W 'low normal high max' -- "$current")) && return ;;
    esac
    local options= words=
    case $command in
    '') words='up down mb rb put get ls stat rm cp mv status df osd coordinator repair scrub gc verify verify-cert damage explain bench help' ;;
    osd) words='ls drain rebuild' ;;
    coordinator) words='ls add rm replace transfer' ;;
    scrub) words='start status' ;;
    'scrub start') options='--deep --light --osd --rate' ;;
    'scrub status') options='--watch' ;;
    gc) words='status run' ;;
    'gc run') options='--dry-run --now --yes' ;;
    up) options='--dir --osds --coordinators --profile --listen --insecure --gc-grace --orphan-retention --detach' ;;
    down) options='--dir' ;;
    mb) options='--profile --quorum --fragment' ;;
    rb) options='--force' ;;
    put) options='--if-absent --if-version --type --meta --no-inline --recursive' ;;
    get) options='--range --recursive' ;;
    ls | rm) options='--recursive' ;;
    cp | mv) options='--if-absent' ;;
    explain) options='--maps-only' ;;
    damage) options='--if-lost --bucket --limit' ;;
    bench)
        words='put get mixed'
        options='--size --concurrency --seconds --keep --bucket --profile --set-bytes --objects --drop-caches --seed'
        ;;
    repair)
        words='status'
        options='--priority --deadline --watch'
        ;;
    'osd drain') options='--cancel' ;;
    'osd rebuild') options='--disk' ;;
    'coordinator add') options='--dir' ;;
    'coordinator rm') options='--force' ;;
    'coordinator replace') options='--dir --force' ;;
    esac
    if [[ $current == -* ]]; then
        COMPREPLY=($(compgen -W "$options $everywhere" -- "$current"))
        return
    fi
    COMPREPLY=($(compgen -W "$words" -- "$current"))
    case $command in
    put | get | verify-cert) COMPREPLY+=($(compgen -f -- "$current")) ;;
    esac
    case $command in
    put | get | ls | stat | rm | rb | cp | mv | verify | explain)
        local buckets
        buckets=$(timeout 1 lilio-ec ls --timeout 500ms 2>/dev/null | tail -n +2 | cut -d' ' -f1)
        compopt -o nospace 2>/dev/null
        [ "$command" = rb ] || buckets=${buckets//$'\n'/$'/\n'}${buckets:+/}
        COMPREPLY+=($(compgen -W "$buckets" -- "$current"))
        ;;
    esac
}
complete -o filenames -F _lilio_ec lilio-ec
