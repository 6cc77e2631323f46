// What a reactor group asks of the system outside its own threads: advisory locks, the device of a file, a plain mutex.
#ifndef CLINUX_SYSTEM_H
#define CLINUX_SYSTEM_H

#include <stdbool.h>
#include <stdint.h>

/// Takes the exclusive lock of an open file without waiting: 0, -EWOULDBLOCK when another description of it is locked,
/// or another negative errno. Released by the last close, so also by a crash. flock(2).
int clinux_try_lock(int descriptor);

/// Whether the file open at `descriptor` still goes by the name `path`. stat(2).
bool clinux_is_file_at(int descriptor, const char *_Nonnull path);
/// The user who owns `path`, symbolic links not followed; negative errno. lstat(2).
int64_t clinux_owner_of(const char *_Nonnull path);

/// The block device behind `path`: itself when it is one, else the device its file system says it is on. 0 or a
/// negative errno. stat(2).
int clinux_block_device_of(const char *_Nonnull path, uint32_t *_Nonnull major_number, uint32_t *_Nonnull minor_number);

/// A pthread mutex at an address of its own: what a thread sanitizer understands.
void *_Nonnull clinux_mutex_create(void);
void clinux_mutex_destroy(void *_Nonnull mutex);
void clinux_mutex_lock(void *_Nonnull mutex);
void clinux_mutex_unlock(void *_Nonnull mutex);

/// CPU time of the whole process in nanoseconds. CLOCK_PROCESS_CPUTIME_ID.
uint64_t clinux_process_cpu_nanoseconds(void);

#endif
