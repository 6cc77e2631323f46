#include "include/clinux_transfer.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <sys/uio.h>
#include <sys/vfs.h>
#include <unistd.h>

#define UNINTERRUPTED(call)                            \
    int64_t result;                                    \
    do result = (call); while (result < 0 && errno == EINTR); \
    return result < 0 ? -errno : result

int64_t clinux_read_now(int descriptor, void *address, size_t count, int64_t offset) {
    UNINTERRUPTED(pread(descriptor, address, count, (off_t)offset));
}

int64_t clinux_write_now(int descriptor, const void *address, size_t count, int64_t offset) {
    UNINTERRUPTED(pwrite(descriptor, address, count, (off_t)offset));
}

int64_t clinux_read_segments_now(int descriptor, const void *segments, int count, int64_t offset) {
    UNINTERRUPTED(preadv(descriptor, segments, count, (off_t)offset));
}

int64_t clinux_write_segments_now(int descriptor, const void *segments, int count, int64_t offset) {
    UNINTERRUPTED(pwritev(descriptor, segments, count, (off_t)offset));
}

bool clinux_file_is_in_memory(int descriptor) {
    struct statfs status;
    if (fstatfs(descriptor, &status) != 0) return false;
    return status.f_type == TMPFS_MAGIC || status.f_type == RAMFS_MAGIC || status.f_type == HUGETLBFS_MAGIC;
}

bool clinux_file_can_punch_holes(int descriptor, int64_t byte_count) {
    return fallocate(descriptor, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, (off_t)byte_count, 4096) == 0;
}
