// Files and block devices: what they are, who else uses them.
#ifndef CLINUX_FILE_H
#define CLINUX_FILE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum clinux_open_flags {
    CLINUX_OPEN_WRITE = 1,
    CLINUX_OPEN_CREATE = 2,
    /// O_DIRECT: past the page cache.
    CLINUX_OPEN_DIRECT = 4,
    /// O_EXCL without O_CREAT: refuses a block device that is mounted or held by another driver.
    CLINUX_OPEN_EXCLUSIVE = 8,
};

/// A close-on-exec descriptor or a negative errno. open(2).
int clinux_file_open(const char *_Nonnull path, uint32_t flags);

struct clinux_file_info {
    int64_t byte_count;
    uint64_t inode;
    /// Of the device itself, or of the file system a regular file is on.
    uint32_t major, minor;
    /// Bytes. For a regular file 512 and its file system's block.
    uint32_t logical_block, physical_block;
    /// What direct I/O demands of memory and offsets, in bytes; 0: the kernel does not say (before 6.1).
    uint32_t direct_memory_alignment, direct_offset_alignment;
    bool is_regular, is_block_device;
};

/// 0 or a negative errno. fstat(2), statx(2), BLKGETSIZE64, BLKSSZGET, BLKPBSZGET.
int clinux_file_identify(int descriptor, struct clinux_file_info *_Nonnull info);
/// 0 or a negative errno. ftruncate(2).
int clinux_file_resize(int descriptor, int64_t byte_count);
/// 0 or a negative errno; -EWOULDBLOCK: somebody else holds it. flock(2).
int clinux_file_lock(int descriptor, bool exclusive);
/// Up to `capacity` bytes of a small file. How many, or a negative errno.
int64_t clinux_file_read(const char *_Nonnull path, char *_Nonnull buffer, size_t capacity);
/// The name of one entry of a directory: 1; 0 when it has none; or a negative errno. readdir(3).
int clinux_directory_entry(const char *_Nonnull path, char *_Nonnull name, size_t capacity);
/// What a block device holds (`ext4`, `LVM2_member`, `gpt` …): 1 and its name in `name`; 0: nothing known; or a negative errno. libblkid.
int clinux_blkid_signature(int descriptor, char *_Nonnull name, size_t capacity);

#endif
