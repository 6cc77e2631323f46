// Regions of devices that may be pulled out. Apart from vfio.c, since it is about signals.
#include "include/clinux_vfio.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

enum { guard_limit = 256 };

struct guard {
    // 0: free. What a handler reads while another thread writes it, so atomic.
    _Atomic uintptr_t base;
    _Atomic uint64_t byte_count;
    _Atomic bool is_tripped;
};

static struct guard guards[guard_limit];
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static bool is_installed;
static struct sigaction former;
// sysconf(3) is not for signal handlers.
static uintptr_t page_size;

static struct guard *find(uintptr_t address) {
    for (int i = 0; i < guard_limit; i++) {
        uintptr_t base = atomic_load_explicit(&guards[i].base, memory_order_acquire);
        if (base != 0 && address >= base && address - base < atomic_load(&guards[i].byte_count)) return &guards[i];
    }
    return NULL;
}

// A page of ones in the place of the one that failed. It is filled before it is put there: no thread sees zeros. mmap
// and mremap are plain system calls, here as elsewhere; errno is the interrupted code's.
static bool replace_page(uintptr_t address) {
    void *page = mmap(NULL, page_size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (page == MAP_FAILED) return false;
    memset(page, 0xFF, page_size);
    void *place = (void *)(address & ~(page_size - 1));
    if (mremap(page, page_size, page_size, MREMAP_MAYMOVE | MREMAP_FIXED, place) == place) return true;
    munmap(page, page_size);
    return false;
}

static void handle(int signal, siginfo_t *info, void *context) {
    int saved = errno;
    // Only failed accesses: a signal that somebody sent has no address.
    struct guard *guard = info->si_code > 0 ? find((uintptr_t)info->si_addr) : NULL;
    if (guard != NULL && replace_page((uintptr_t)info->si_addr)) {
        atomic_store_explicit(&guard->is_tripped, true, memory_order_release);
        errno = saved;
        return;
    }
    errno = saved;
    if (former.sa_flags & SA_SIGINFO) {
        former.sa_sigaction(signal, info, context);
    } else if (former.sa_handler == SIG_IGN && info->si_code <= 0) {
        return;
    } else if (former.sa_handler != SIG_DFL && former.sa_handler != SIG_IGN) {
        former.sa_handler(signal);
    } else {
        // As if this handler were not there: the access is made again, and ends the process.
        sigaction(SIGBUS, &(struct sigaction){.sa_handler = SIG_DFL}, NULL);
        if (info->si_code <= 0) raise(SIGBUS);
    }
}

static int install(void) {
    if (is_installed) return 0;
    page_size = (uintptr_t)sysconf(_SC_PAGESIZE);
    struct sigaction action = {.sa_sigaction = handle, .sa_flags = SA_SIGINFO | SA_ONSTACK | SA_RESTART};
    sigemptyset(&action.sa_mask);
    if (sigaction(SIGBUS, &action, &former) != 0) return -errno;
    is_installed = true;
    return 0;
}

int clinux_guard_add(void *base, uint64_t byte_count) {
    pthread_mutex_lock(&lock);
    int result = install();
    if (result == 0) {
        result = -ENOSPC;
        for (int i = 0; i < guard_limit; i++) {
            if (atomic_load(&guards[i].base) != 0) continue;
            atomic_store(&guards[i].is_tripped, false);
            atomic_store(&guards[i].byte_count, byte_count);
            atomic_store_explicit(&guards[i].base, (uintptr_t)base, memory_order_release);
            result = i;
            break;
        }
    }
    pthread_mutex_unlock(&lock);
    return result;
}

void clinux_guard_remove(int guard) {
    pthread_mutex_lock(&lock);
    atomic_store(&guards[guard].base, 0);
    pthread_mutex_unlock(&lock);
}

bool clinux_guard_is_tripped(int guard) {
    return atomic_load_explicit(&guards[guard].is_tripped, memory_order_acquire);
}

int clinux_region_detach(void *base, uint64_t byte_count) {
    // An empty file fails every access, as a device that is gone does: the guard deals with both.
    int file = memfd_create("swift-bdev-gone", MFD_CLOEXEC);
    if (file < 0) return -errno;
    void *place = mmap(base, byte_count, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, file, 0);
    int result = place == MAP_FAILED ? -errno : 0;
    close(file);
    return result;
}
