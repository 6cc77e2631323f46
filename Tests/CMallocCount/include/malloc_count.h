#ifndef MALLOC_COUNT_H
#define MALLOC_COUNT_H

#include <stdbool.h>

/// Whether allocations can be counted: not under a sanitizer, which has an allocator of its own.
bool malloc_count_is_possible(void);
/// Counts the allocations of the calling thread from here on, from 0.
void malloc_count_begin(void);
/// Ends counting. How many there were.
unsigned long malloc_count_end(void);

#endif
