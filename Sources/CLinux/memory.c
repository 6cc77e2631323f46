#include "include/clinux_memory.h"

#include <errno.h>
#include <numa.h>
#include <numaif.h>
#include <stdatomic.h>
#include <sys/mman.h>
#include <unistd.h>

#ifndef MFD_HUGE_2MB // glibc 2.36 leaves it to <linux/memfd.h>
#define MFD_HUGE_2MB (21U << 26)
#endif

enum { huge_page = 2 << 20 };

static void prefer_node(void *base, size_t size, int32_t node) {
    if (node < 0 || numa_available() < 0 || numa_max_node() == 0) return;
    struct bitmask *nodes = numa_allocate_nodemask();
    numa_bitmask_setbit(nodes, (unsigned)node);
    // Preferred, not bound: memory of another node is slower, no memory is worse.
    mbind(base, size, MPOL_PREFERRED, nodes->maskp, nodes->size + 1, 0);
    numa_free_nodemask(nodes);
}

static void *map_huge(size_t size) {
    int file = memfd_create("swift-bdev", MFD_CLOEXEC | MFD_HUGETLB | MFD_HUGE_2MB);
    if (file < 0) return MAP_FAILED;
    void *base = MAP_FAILED;
    if (ftruncate(file, (off_t)size) == 0) base = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
    int error = errno;
    close(file);
    errno = error;
    return base;
}

void *clinux_map_memory(int64_t byte_count, bool huge, int32_t node, int64_t *mapped) {
    size_t page = huge ? huge_page : (size_t)sysconf(_SC_PAGESIZE);
    size_t size = ((size_t)byte_count + page - 1) / page * page;
    void *base = huge ? map_huge(size)
                      : mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (base == MAP_FAILED) {
        *mapped = -errno;
        return NULL;
    }
    prefer_node(base, size, node);
    *mapped = (int64_t)size;
    return base;
}

void clinux_unmap_memory(void *base, int64_t byte_count) { munmap(base, (size_t)byte_count); }

void clinux_zero_memory(void *start, int64_t byte_count, bool huge) {
    uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE);
    uintptr_t from = (uintptr_t)start, to = from + (uintptr_t)byte_count;
    uintptr_t first = (from + page - 1) / page * page, last = to / page * page;
    // Small ranges are cheaper written than faulted in again.
    if (huge || last <= first || last - first < 16 * page || madvise((void *)first, last - first, MADV_DONTNEED) != 0) {
        memset(start, 0, (size_t)byte_count);
        return;
    }
    memset(start, 0, first - from);
    memset((void *)last, 0, to - last);
}

uint32_t clinux_next_arena(void) {
    static _Atomic uint32_t last;
    return atomic_fetch_add_explicit(&last, 1, memory_order_relaxed) + 1;
}

int32_t clinux_node_of_page(const void *address) {
    void *page = (void *)((uintptr_t)address / (uintptr_t)sysconf(_SC_PAGESIZE) * (uintptr_t)sysconf(_SC_PAGESIZE));
    int status = -1;
    if (numa_available() < 0 || move_pages(0, 1, &page, NULL, &status, 0) != 0) return -1;
    return status < 0 ? -1 : status;
}

bool clinux_node_memory(int32_t node, int64_t *total, int64_t *available) {
    if (numa_available() < 0) return false;
    long long free_bytes = 0;
    long long size = numa_node_size64(node, &free_bytes);
    if (size < 0) return false;
    *total = size;
    *available = free_bytes;
    return true;
}
