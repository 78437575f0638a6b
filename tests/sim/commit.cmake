# cmake -D FILE=... -P commit.cmake   in the checkout: writes a header that names the commit, "+" when files differ from it.
execute_process(COMMAND git describe --always --exclude=* --dirty=+ OUTPUT_VARIABLE commit OUTPUT_STRIP_TRAILING_WHITESPACE ERROR_QUIET)
file(CONFIGURE OUTPUT ${FILE} CONTENT "#define SIM_COMMIT \"${commit}\"\n")
