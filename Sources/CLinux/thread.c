#include "include/clinux_thread.h"

#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <unistd.h>

__thread void *clinux_current_reactor_slot __attribute__((tls_model("initial-exec")));

// CPU_SETSIZE is 1024; machines beyond it exist, so the sets are allocated by the number of cores asked for.

int clinux_process_cores(uint8_t *allowed, size_t count) {
    cpu_set_t *set = CPU_ALLOC(count);
    if (set == NULL) return -ENOMEM;
    size_t size = CPU_ALLOC_SIZE(count);
    int found = 0;
    if (sched_getaffinity(getpid(), size, set) != 0) {
        found = -errno;
    } else {
        for (size_t core = 0; core < count; core++) {
            allowed[core] = CPU_ISSET_S(core, size, set) != 0;
            found += allowed[core];
        }
    }
    CPU_FREE(set);
    return found;
}

void clinux_name_thread(const char *name) {
    char kept[16] = {0};
    for (size_t i = 0; i < sizeof kept - 1 && name[i] != 0; i++) kept[i] = name[i];
    pthread_setname_np(pthread_self(), kept);
}

int32_t clinux_thread_id(void) { return (int32_t)syscall(SYS_gettid); }
int32_t clinux_current_core(void) { return sched_getcpu(); }

struct start { void (*body)(void *); void *context; };

static void *run_start(void *argument) {
    struct start start = *(struct start *)argument;
    free(argument);
    start.body(start.context);
    return NULL;
}

static int start_thread(uint64_t *thread, const pthread_attr_t *attributes, void (*body)(void *), void *context) {
    struct start *start = malloc(sizeof *start);
    if (start == NULL) return -ENOMEM;
    *start = (struct start){body, context};
    pthread_t started;
    int result = pthread_create(&started, attributes, run_start, start);
    if (result != 0) {
        free(start);
        return -result;
    }
    *thread = (uint64_t)started;
    return 0;
}

int clinux_start_thread(uint64_t *thread, void (*body)(void *), void *context) {
    return start_thread(thread, NULL, body, context);
}

int clinux_start_pinned_thread(uint64_t *thread, uint32_t core, void (*body)(void *), void *context) {
    cpu_set_t *set = CPU_ALLOC(core + 1);
    if (set == NULL) return -ENOMEM;
    size_t size = CPU_ALLOC_SIZE(core + 1);
    CPU_ZERO_S(size, set);
    CPU_SET_S(core, size, set);
    pthread_attr_t attributes;
    pthread_attr_init(&attributes);
    int result = -pthread_attr_setaffinity_np(&attributes, size, set);
    if (result == 0) result = start_thread(thread, &attributes, body, context);
    pthread_attr_destroy(&attributes);
    CPU_FREE(set);
    return result;
}

void clinux_join_thread(uint64_t thread) { pthread_join((pthread_t)thread, NULL); }
void clinux_detach_thread(uint64_t thread) { pthread_detach((pthread_t)thread); }
