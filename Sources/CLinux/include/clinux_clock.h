// Time: the processor's counter for intervals, CLOCK_MONOTONIC to give it a unit.
#ifndef CLINUX_CLOCK_H
#define CLINUX_CLOCK_H

#include <stdbool.h>
#include <stdint.h>
#include <time.h>

/// CLOCK_MONOTONIC in nanoseconds.
static inline uint64_t clinux_monotonic_nanoseconds(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

/// CPU time of the calling thread in nanoseconds. CLOCK_THREAD_CPUTIME_ID.
uint64_t clinux_thread_cpu_nanoseconds(void);

#if defined(__x86_64__)
static inline uint64_t clinux_counter(void) { return __builtin_ia32_rdtsc(); }
#elif defined(__aarch64__)
static inline uint64_t clinux_counter(void) {
    uint64_t value;
    __asm__ volatile("mrs %0, cntvct_el0" : "=r"(value));
    return value;
}
#else
static inline uint64_t clinux_counter(void) { return clinux_monotonic_nanoseconds(); }
#endif

/// Whether `clinux_counter` runs at one rate on every core, in every power state: what the kernel itself
/// trusts as its clock source.
bool clinux_counter_is_reliable(void);

#endif
