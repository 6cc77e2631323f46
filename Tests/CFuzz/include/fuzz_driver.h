// libFuzzer's loop, when this was built for it.
#ifndef FUZZ_DRIVER_H
#define FUZZ_DRIVER_H

#include <stddef.h>
#include <stdint.h>

typedef int (*fuzz_target)(const uint8_t *data, size_t count);

// Runs `target` as libFuzzer does with these arguments. -1: not built for it.
int fuzz_driver_run(int count, char **arguments, fuzz_target target);

#endif
