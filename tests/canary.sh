#!/usr/bin/env bash
# Do the sanitizers and the fuzzer notice anything at all here? Each gets a planted fault and must fail on it.
set -euo pipefail

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
missed=0
# must_fail NAME COMPILER FLAGS...   compiles the program on standard input and runs it
must_fail() {
    local name=$1
    shift
    cat >"$name.c"
    "$@" -g "$name.c" -o "$name" -pthread
    if (ulimit -c 0; "./$name" -max_total_time=20 >"$name.log" 2>&1); then
        echo "canary: $name was not noticed"
        missed=1
    else
        echo "canary: $name was noticed"
    fi
}

must_fail leak cc -fsanitize=address <<'C'
#include <stdlib.h>
void *volatile kept;
int main(void) { kept = malloc(100); kept = NULL; return 0; }
C
must_fail overflow cc -fsanitize=address <<'C'
#include <stdlib.h>
int main(void) { volatile char *p = malloc(8); int i = 8; p[i] = 1; free((void *)p); return 0; }
C
must_fail undefined cc -fsanitize=undefined -fno-sanitize-recover=all <<'C'
int main(int count, char **words) { (void)words; int top = 0x7fffffff; return (top + count) == 0; }
C
must_fail race cc -fsanitize=thread <<'C'
#include <pthread.h>
static int shared;
static void *work(void *unused) { for (int i = 0; i < 100000; i++) shared++; return unused; }
int main(void) { pthread_t t; pthread_create(&t, 0, work, 0); work(0); pthread_join(t, 0); return 0; }
C
if command -v clang >/dev/null; then
    must_fail fuzz clang -fsanitize=fuzzer,address <<'C'
#include <stddef.h>
#include <stdint.h>
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size >= 2 && data[0] == 'a' && data[1] == 'b')
        __builtin_trap();
    return 0;
}
C
fi
exit $missed
