#include "include/clinux_system.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <time.h>

int clinux_try_lock(int descriptor) {
    int result;
    do result = flock(descriptor, LOCK_EX | LOCK_NB); while (result != 0 && errno == EINTR);
    return result == 0 ? 0 : -errno;
}

bool clinux_is_file_at(int descriptor, const char *path) {
    struct stat open_file, named;
    if (fstat(descriptor, &open_file) != 0 || lstat(path, &named) != 0) return false;
    return open_file.st_dev == named.st_dev && open_file.st_ino == named.st_ino;
}

int64_t clinux_owner_of(const char *path) {
    struct stat status;
    return lstat(path, &status) == 0 ? (int64_t)status.st_uid : -errno;
}

int clinux_block_device_of(const char *path, uint32_t *major_number, uint32_t *minor_number) {
    struct stat status;
    if (stat(path, &status) != 0) return -errno;
    dev_t device = S_ISBLK(status.st_mode) ? status.st_rdev : status.st_dev;
    *major_number = major(device);
    *minor_number = minor(device);
    return 0;
}

void *clinux_mutex_create(void) {
    pthread_mutex_t *mutex = malloc(sizeof *mutex);
    if (mutex == NULL) abort();
    pthread_mutex_init(mutex, NULL);
    return mutex;
}

void clinux_mutex_destroy(void *mutex) {
    pthread_mutex_destroy(mutex);
    free(mutex);
}

void clinux_mutex_lock(void *mutex) { pthread_mutex_lock(mutex); }
void clinux_mutex_unlock(void *mutex) { pthread_mutex_unlock(mutex); }

uint64_t clinux_process_cpu_nanoseconds(void) {
    struct timespec now;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}
