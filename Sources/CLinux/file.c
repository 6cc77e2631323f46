#include "include/clinux_file.h"

#include <blkid/blkid.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

// <linux/stat.h> of 6.1, and where its two fields lie: older headers have the room but not the names.
#ifndef STATX_DIOALIGN
#define STATX_DIOALIGN 0x2000U
#endif
enum { dio_mem_align_offset = 0x98, dio_offset_align_offset = 0x9c };

int clinux_file_open(const char *path, uint32_t flags) {
    int mode = O_CLOEXEC | (flags & CLINUX_OPEN_WRITE ? O_RDWR : O_RDONLY);
    if (flags & CLINUX_OPEN_CREATE) mode |= O_CREAT;
    if (flags & CLINUX_OPEN_DIRECT) mode |= O_DIRECT;
    if (flags & CLINUX_OPEN_EXCLUSIVE) mode |= O_EXCL;
    int descriptor;
    do descriptor = open(path, mode, 0600); while (descriptor < 0 && errno == EINTR);
    return descriptor >= 0 ? descriptor : -errno;
}

static void find_direct_alignment(int descriptor, struct clinux_file_info *info) {
    struct statx more;
    if (statx(descriptor, "", AT_EMPTY_PATH, STATX_DIOALIGN, &more) != 0 || !(more.stx_mask & STATX_DIOALIGN)) return;
    memcpy(&info->direct_memory_alignment, (char *)&more + dio_mem_align_offset, sizeof(uint32_t));
    memcpy(&info->direct_offset_alignment, (char *)&more + dio_offset_align_offset, sizeof(uint32_t));
    info->refuses_direct = info->direct_offset_alignment == 0;
}

static void describe(const struct stat *status, struct clinux_file_info *info) {
    memset(info, 0, sizeof *info);
    info->is_regular = S_ISREG(status->st_mode);
    info->is_block_device = S_ISBLK(status->st_mode);
    dev_t device = info->is_block_device ? status->st_rdev : status->st_dev;
    info->major = major(device);
    info->minor = minor(device);
    info->home_major = major(status->st_dev);
    info->home_minor = minor(status->st_dev);
    info->inode = status->st_ino;
    info->byte_count = status->st_size;
}

int clinux_path_identify(const char *path, struct clinux_file_info *info) {
    struct stat status;
    if (stat(path, &status) != 0) return -errno;
    describe(&status, info);
    return 0;
}

int clinux_file_stop_direct(int descriptor) {
    int flags = fcntl(descriptor, F_GETFL);
    if (flags < 0 || fcntl(descriptor, F_SETFL, flags & ~O_DIRECT) < 0) return -errno;
    return 0;
}

int clinux_file_identify(int descriptor, struct clinux_file_info *info) {
    struct stat status;
    if (fstat(descriptor, &status) != 0) return -errno;
    describe(&status, info);
    info->logical_block = 512;
    info->physical_block = (uint32_t)status.st_blksize;
    if (info->is_block_device) {
        uint64_t size = 0;
        int logical = 0;
        unsigned physical = 0;
        if (ioctl(descriptor, BLKGETSIZE64, &size) != 0 || ioctl(descriptor, BLKSSZGET, &logical) != 0) return -errno;
        if (ioctl(descriptor, BLKPBSZGET, &physical) != 0) physical = (unsigned)logical;
        info->byte_count = (int64_t)size;
        info->logical_block = (uint32_t)logical;
        info->physical_block = physical;
    }
    find_direct_alignment(descriptor, info);
    return 0;
}

int clinux_file_remove(const char *path) { return unlink(path) == 0 ? 0 : -errno; }

int clinux_file_resize(int descriptor, int64_t byte_count) {
    return ftruncate(descriptor, byte_count) == 0 ? 0 : -errno;
}

int clinux_file_lock(int descriptor, bool exclusive) {
    return flock(descriptor, (exclusive ? LOCK_EX : LOCK_SH) | LOCK_NB) == 0 ? 0 : -errno;
}

int64_t clinux_file_read(const char *path, char *buffer, size_t capacity) {
    int file = open(path, O_RDONLY | O_CLOEXEC);
    if (file < 0) return -errno;
    size_t length = 0;
    ssize_t got = 1;
    // Files of procfs come in pieces.
    while (length < capacity && got > 0) {
        got = read(file, buffer + length, capacity - length);
        if (got > 0) length += (size_t)got;
        if (got < 0 && errno == EINTR) got = 1;
    }
    int error = got < 0 ? -errno : 0;
    close(file);
    return error < 0 ? error : (int64_t)length;
}

int clinux_directory_entry(const char *path, char *name, size_t capacity) {
    DIR *directory = opendir(path);
    if (directory == NULL) return -errno;
    int found = 0;
    struct dirent *entry;
    while (!found && (entry = readdir(directory)) != NULL) {
        if (entry->d_name[0] == '.') continue;
        snprintf(name, capacity, "%s", entry->d_name);
        found = 1;
    }
    closedir(directory);
    return found;
}

int clinux_blkid_signature(int descriptor, char *name, size_t capacity) {
    blkid_probe probe = blkid_new_probe();
    if (probe == NULL) return -ENOMEM;
    int result = -EIO;
    if (blkid_probe_set_device(probe, descriptor, 0, 0) == 0) {
        blkid_probe_enable_superblocks(probe, 1);
        blkid_probe_set_superblocks_flags(probe, BLKID_SUBLKS_TYPE | BLKID_SUBLKS_MAGIC);
        blkid_probe_enable_partitions(probe, 1);
        // 1: nothing found. -2: several answers, which is something found.
        int outcome = blkid_do_safeprobe(probe);
        const char *type = NULL;
        if (outcome == 1) result = 0;
        if (outcome == 0 && blkid_probe_lookup_value(probe, "TYPE", &type, NULL) != 0)
            blkid_probe_lookup_value(probe, "PTTYPE", &type, NULL);
        if (outcome == 0 || outcome == -2) {
            snprintf(name, capacity, "%s", type ? type : "more than one kind of data");
            result = 1;
        }
    }
    blkid_free_probe(probe);
    return result;
}
