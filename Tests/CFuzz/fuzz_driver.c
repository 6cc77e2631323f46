#include "fuzz_driver.h"

#ifdef LIBFUZZER

extern int LLVMFuzzerRunDriver(int *count, char ***arguments, fuzz_target target);

int fuzz_driver_run(int count, char **arguments, fuzz_target target) {
    return LLVMFuzzerRunDriver(&count, &arguments, target);
}

#else

int fuzz_driver_run(int count, char **arguments, fuzz_target target) {
    (void)count;
    (void)arguments;
    (void)target;
    return -1;
}

#endif
