// Pages: mapped near a NUMA node, zeroed cheaply, given back.
#ifndef CLINUX_MEMORY_H
#define CLINUX_MEMORY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

/// Maps `byte_count` bytes, rounded up to whole pages, read-write and zero, preferred from `node` (-1: wherever first
/// touched). `huge`: 2 MiB pages of a memfd, all present or refused. `*mapped` is the size in bytes, or a negative
/// errno with a null result. mmap(2), memfd_create(2), mbind(2) through libnuma.
void *_Nullable clinux_map_memory(int64_t byte_count, bool huge, int32_t node, int64_t *_Nonnull mapped);
void clinux_unmap_memory(void *_Nonnull base, int64_t byte_count);
/// Zeroes the range; whole normal pages are given back to the kernel instead of being written. madvise(2).
void clinux_zero_memory(void *_Nonnull start, int64_t byte_count, bool huge);
/// A number no other mapping of this process has; never 0.
uint32_t clinux_next_arena(void);
/// The NUMA node the page at `address` is on; -1 when it is not there yet or the kernel does not say. move_pages(2).
int32_t clinux_node_of_page(const void *_Nonnull address);
/// Bytes of memory on `node`, in all and free; false when the node is unknown. libnuma, which a kernel without NUMA
/// answers too.
bool clinux_node_memory(int32_t node, int64_t *_Nonnull total, int64_t *_Nonnull available);

static inline bool clinux_memory_equal(const void *_Nonnull a, const void *_Nonnull b, int64_t byte_count) {
    return memcmp(a, b, (size_t)byte_count) == 0;
}

#endif
