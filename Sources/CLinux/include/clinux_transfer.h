// Reads and writes done at once on the calling thread, and what tells whether that is wise.
#ifndef CLINUX_TRANSFER_H
#define CLINUX_TRANSFER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/// Reads `count` bytes at `offset` into `address`. How many, or a negative errno. pread(2).
int64_t clinux_read_now(int descriptor, void *_Nonnull address, size_t count, int64_t offset);
/// Writes `count` bytes at `offset`. How many, or a negative errno. pwrite(2).
int64_t clinux_write_now(int descriptor, const void *_Nonnull address, size_t count, int64_t offset);
/// The same with `count` segments (`struct clinux_segment`, at most 1,024). preadv(2), pwritev(2).
int64_t clinux_read_segments_now(int descriptor, const void *_Nonnull segments, int count, int64_t offset);
int64_t clinux_write_segments_now(int descriptor, const void *_Nonnull segments, int count, int64_t offset);

/// Whether a file is on a file system that keeps its data in memory (tmpfs, ramfs, hugetlbfs). fstatfs(2).
bool clinux_file_is_in_memory(int descriptor);
/// Whether holes can be punched in a regular file of `byte_count` bytes: tried beyond its end, where it changes
/// nothing. fallocate(2).
bool clinux_file_can_punch_holes(int descriptor, int64_t byte_count);

#endif
