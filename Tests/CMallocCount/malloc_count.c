#include "malloc_count.h"

#include <errno.h>
#include <stdlib.h>

static __thread bool counting __attribute__((tls_model("initial-exec")));
static __thread unsigned long calls __attribute__((tls_model("initial-exec")));

void malloc_count_begin(void) {
    calls = 0;
    counting = true;
}

unsigned long malloc_count_end(void) {
    counting = false;
    return calls;
}

#if defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define SANITIZED 1
#endif
#endif

#ifdef SANITIZED

bool malloc_count_is_possible(void) { return false; }

#else

bool malloc_count_is_possible(void) { return true; }

/* glibc's own entry points: what an executable defines takes the place of malloc in every library. */
extern void *__libc_malloc(size_t size);
extern void *__libc_calloc(size_t count, size_t size);
extern void *__libc_realloc(void *memory, size_t size);
extern void *__libc_memalign(size_t alignment, size_t size);

static void count(void) {
    if (counting) calls++;
}

void *malloc(size_t size) {
    count();
    return __libc_malloc(size);
}

void *calloc(size_t number, size_t size) {
    count();
    return __libc_calloc(number, size);
}

void *realloc(void *memory, size_t size) {
    count();
    return __libc_realloc(memory, size);
}

void *memalign(size_t alignment, size_t size) {
    count();
    return __libc_memalign(alignment, size);
}

void *aligned_alloc(size_t alignment, size_t size) {
    count();
    return __libc_memalign(alignment, size);
}

int posix_memalign(void **memory, size_t alignment, size_t size) {
    count();
    *memory = __libc_memalign(alignment, size);
    return *memory != NULL ? 0 : ENOMEM;
}

#endif
