#include "include/clinux_clock.h"

#include <fcntl.h>
#include <string.h>
#include <unistd.h>

uint64_t clinux_thread_cpu_nanoseconds(void) {
    struct timespec now;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

bool clinux_counter_is_reliable(void) {
#if defined(__x86_64__)
    // Guests run on kvm-clock or hyperv's page, both computed from the same counter and offered only where it is
    // stable.
    char name[32] = {0};
    int file = open("/sys/devices/system/clocksource/clocksource0/available_clocksource", O_RDONLY | O_CLOEXEC);
    if (file < 0) return false;
    ssize_t length = read(file, name, sizeof name - 1);
    close(file);
    if (length <= 0) return false;
    return strstr(name, "tsc") != NULL;
#else
    return true;
#endif
}
