#!/usr/bin/env bash
# The one list of Debian packages: what lilio-ec needs to build, run and test.
#   deploy/install-deps.sh          build, run, test
#   deploy/install-deps.sh --dev    also the formatter and the fuzzers' compiler
#   deploy/install-deps.sh --list   only print the names
set -euo pipefail

packages=(
    # build
    cmake ninja-build gcc libc6-dev pkg-config
    libisal-dev       # Reed-Solomon coding, CRC32C
    libzmq3-dev       # transport
    libmsgpack-dev    # framing of messages and rows
    librocksdb-dev    # the coordinators' maps, the OSDs' index
    libssl-dev        # cryptography
    libyaml-dev       # lilio.yaml
    libcjson-dev      # --json, certificates
    libxxhash-dev     # placement hash
    # test
    libcmocka-dev python3 iproute2 procps
)
development=(clang clang-format libclang-rt-14-dev valgrind)

case "${1-}" in
"") ;;
--dev) packages+=("${development[@]}") ;;
--list) printf '%s\n' "${packages[@]}" "${development[@]}"; exit 0 ;;
*) sed -n '2,5s/^# \{0,1\}//p' "$0"; exit 2 ;;
esac

missing=()
for package in "${packages[@]}"; do
    dpkg-query -W -f '${Status}' "$package" 2>/dev/null | grep -q '^install ok installed$' || missing+=("$package")
done
if [ ${#missing[@]} -eq 0 ]; then
    echo "install-deps: all ${#packages[@]} packages are there"
    exit 0
fi

as_root=()
if [ "$(id -u)" -ne 0 ]; then
    command -v sudo >/dev/null || { echo "install-deps: run as root, or install: ${missing[*]}" >&2; exit 1; }
    as_root=(sudo)
fi
echo "install-deps: installing ${missing[*]}"
export DEBIAN_FRONTEND=noninteractive
"${as_root[@]}" apt-get update -qq
"${as_root[@]}" apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
