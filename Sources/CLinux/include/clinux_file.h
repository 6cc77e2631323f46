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
    /// O_EXCL: refuses a file that is there already; without O_CREAT, a block device that is mounted or held by
    /// another driver.
    CLINUX_OPEN_EXCLUSIVE = 8,
};

/// A close-on-exec descriptor or a negative errno. open(2).
int clinux_file_open(const char *_Nonnull path, uint32_t flags);

struct clinux_file_info {
    int64_t byte_count;
    uint64_t inode;
    /// Of the device itself, or of the file system a regular file is on.
    uint32_t major, minor;
    /// Of the file system its name is in: how /proc/locks names it, with the inode.
    uint32_t home_major, home_minor;
    /// Bytes. For a regular file 512 and its file system's block.
    uint32_t logical_block, physical_block;
    /// What direct I/O demands of memory and offsets, in bytes; 0: the kernel does not say (before 6.1).
    uint32_t direct_memory_alignment, direct_offset_alignment;
    bool is_regular, is_block_device;
    /// The kernel says that direct I/O is not possible.
    bool refuses_direct;
};

/// 0 or a negative errno. fstat(2), statx(2), BLKGETSIZE64, BLKSSZGET, BLKPBSZGET.
int clinux_file_identify(int descriptor, struct clinux_file_info *_Nonnull info);
/// The same by its name, without opening it: block sizes and the size of a device stay 0. stat(2).
int clinux_path_identify(const char *_Nonnull path, struct clinux_file_info *_Nonnull info);
/// Takes O_DIRECT off. 0 or a negative errno. fcntl(2).
int clinux_file_stop_direct(int descriptor);
/// 0 or a negative errno. unlink(2).
int clinux_file_remove(const char *_Nonnull path);
/// 0 or a negative errno. ftruncate(2).
int clinux_file_resize(int descriptor, int64_t byte_count);
/// 0 or a negative errno; -EWOULDBLOCK: somebody else holds it. flock(2).
int clinux_file_lock(int descriptor, bool exclusive);
/// Up to `capacity` bytes of a small file. How many, or a negative errno.
int64_t clinux_file_read(const char *_Nonnull path, char *_Nonnull buffer, size_t capacity);
/// The name of one entry of a directory: 1; 0 when it has none; or a negative errno. readdir(3).
int clinux_directory_entry(const char *_Nonnull path, char *_Nonnull name, size_t capacity);
/// What a block device holds (`ext4`, `LVM2_member`, `gpt` …): 1 and its name in `name`; 0: nothing known; or a
/// negative errno. libblkid.
int clinux_blkid_signature(int descriptor, char *_Nonnull name, size_t capacity);

#endif
