#include "include/clinux_uring.h"
#include "include/clinux_event.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

// Both queues have room for `capacity` entries, and no more operations than that are ever outstanding: neither
// overflows.
struct clinux_workers {
    pthread_mutex_t lock;
    pthread_cond_t arrived;
    struct clinux_operation *queue;
    struct clinux_completion *done;
    uint32_t capacity, threads, started;
    int event;
    // Of the queue: the owner writes up to `prepared`, threads read from `head` up to `published`.
    uint32_t head, published, prepared;
    uint32_t done_head, done_tail;
    // The owner's alone.
    uint32_t outstanding;
    _Atomic uint32_t ready;
    bool waiting, stopping;
    pthread_t ids[];
};

enum { cancelled = 255 };

static int64_t perform(const struct clinux_operation *operation) {
    struct iovec one = {.iov_base = operation->address, .iov_len = operation->length};
    const struct iovec *vectors = operation->address;
    off_t offset = (off_t)operation->offset;
    int descriptor = operation->descriptor, count = (int)operation->length, flags = (int)operation->flags;
    switch (operation->kind) {
    case CLINUX_READ: return preadv2(descriptor, &one, 1, offset, flags);
    case CLINUX_WRITE: return pwritev2(descriptor, &one, 1, offset, flags);
    case CLINUX_READ_VECTOR: return preadv2(descriptor, vectors, count, offset, flags);
    case CLINUX_WRITE_VECTOR: return pwritev2(descriptor, vectors, count, offset, flags);
    case CLINUX_SYNC: return flags ? fdatasync(descriptor) : fsync(descriptor);
    case CLINUX_ALLOCATE: return fallocate(descriptor, flags, offset, (off_t)operation->length);
    case CLINUX_DISCARD: {
        uint64_t range[2] = {operation->offset, operation->length};
        return ioctl(descriptor, BLKDISCARD, range);
    }
    case CLINUX_NOP: return 0;
    case cancelled: errno = ECANCELED; return -1;
    default: errno = EOPNOTSUPP; return -1;
    }
}

int64_t clinux_operation_perform(const struct clinux_operation *operation) {
    int64_t result;
    do result = perform(operation); while (result < 0 && errno == EINTR);
    return result < 0 ? -errno : result;
}

static void *work(void *argument) {
    struct clinux_workers *workers = argument;
    pthread_setname_np(pthread_self(), "ring_worker");
    pthread_mutex_lock(&workers->lock);
    for (;;) {
        while (workers->head == workers->published && !workers->stopping)
            pthread_cond_wait(&workers->arrived, &workers->lock);
        if (workers->head == workers->published) break;
        struct clinux_operation operation = workers->queue[workers->head++ % workers->capacity];
        pthread_mutex_unlock(&workers->lock);

        int64_t result = clinux_operation_perform(&operation);

        pthread_mutex_lock(&workers->lock);
        workers->done[workers->done_tail++ % workers->capacity] =
            (struct clinux_completion){operation.user_data, (int32_t)result, 0};
        atomic_fetch_add_explicit(&workers->ready, 1, memory_order_release);
        if (workers->waiting) {
            workers->waiting = false;
            clinux_event_signal(workers->event);
        }
    }
    pthread_mutex_unlock(&workers->lock);
    return NULL;
}

struct clinux_workers *clinux_workers_create(uint32_t threads, uint32_t capacity, int event) {
    // A power of two, so that positions may wrap around.
    uint32_t rounded = 1;
    while (rounded < capacity) rounded *= 2;
    struct clinux_workers *workers = calloc(1, sizeof *workers + threads * sizeof(pthread_t));
    if (workers == NULL) return NULL;
    workers->queue = calloc(rounded, sizeof *workers->queue);
    workers->done = calloc(rounded, sizeof *workers->done);
    if (workers->queue == NULL || workers->done == NULL) {
        free(workers->queue);
        free(workers->done);
        free(workers);
        return NULL;
    }
    pthread_mutex_init(&workers->lock, NULL);
    pthread_cond_init(&workers->arrived, NULL);
    workers->capacity = rounded;
    workers->threads = threads;
    workers->event = event;
    return workers;
}

void clinux_workers_destroy(struct clinux_workers *workers) {
    pthread_mutex_lock(&workers->lock);
    workers->stopping = true;
    pthread_cond_broadcast(&workers->arrived);
    pthread_mutex_unlock(&workers->lock);
    for (uint32_t i = 0; i < workers->started; i++) pthread_join(workers->ids[i], NULL);
    pthread_cond_destroy(&workers->arrived);
    pthread_mutex_destroy(&workers->lock);
    free(workers->queue);
    free(workers->done);
    free(workers);
}

// The threads inherit the reactor's core, where they would compete with it: they may run anywhere the process may.
static int start_threads(struct clinux_workers *workers) {
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_BLOCK, &all, &before);
    cpu_set_t process;
    pthread_attr_t attributes;
    pthread_attr_init(&attributes);
    if (sched_getaffinity(getpid(), sizeof process, &process) == 0)
        pthread_attr_setaffinity_np(&attributes, sizeof process, &process);
    int result = 0;
    while (workers->started < workers->threads) {
        result = pthread_create(&workers->ids[workers->started], &attributes, work, workers);
        if (result != 0) break;
        workers->started++;
    }
    pthread_attr_destroy(&attributes);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return workers->started > 0 ? 0 : -result;
}

bool clinux_workers_prepare(struct clinux_workers *workers, const struct clinux_operation *operation) {
    if (workers->outstanding == workers->capacity) return false;
    workers->queue[workers->prepared++ % workers->capacity] = *operation;
    workers->outstanding++;
    return true;
}

int clinux_workers_publish(struct clinux_workers *workers) {
    if (workers->prepared == workers->published) return 0;
    if (workers->started == 0) {
        int result = start_threads(workers);
        if (result < 0) return result;
    }
    pthread_mutex_lock(&workers->lock);
    uint32_t count = workers->prepared - workers->published;
    workers->published = workers->prepared;
    if (count == 1) pthread_cond_signal(&workers->arrived); else pthread_cond_broadcast(&workers->arrived);
    pthread_mutex_unlock(&workers->lock);
    return 0;
}

bool clinux_workers_ready(const struct clinux_workers *workers) {
    return atomic_load_explicit(&workers->ready, memory_order_acquire) != 0;
}

int clinux_workers_take(struct clinux_workers *workers, struct clinux_completion *completions, int capacity) {
    int count = 0;
    pthread_mutex_lock(&workers->lock);
    while (count < capacity && workers->done_head != workers->done_tail)
        completions[count++] = workers->done[workers->done_head++ % workers->capacity];
    atomic_fetch_sub_explicit(&workers->ready, (uint32_t)count, memory_order_relaxed);
    pthread_mutex_unlock(&workers->lock);
    workers->outstanding -= (uint32_t)count;
    return count;
}

bool clinux_workers_cancel(struct clinux_workers *workers, uint64_t user_data) {
    bool found = false;
    pthread_mutex_lock(&workers->lock);
    for (uint32_t i = workers->head; i != workers->prepared && !found; i++) {
        struct clinux_operation *operation = &workers->queue[i % workers->capacity];
        if (operation->user_data != user_data || operation->kind == cancelled) continue;
        operation->kind = cancelled;
        found = true;
    }
    pthread_mutex_unlock(&workers->lock);
    return found;
}

bool clinux_workers_begin_wait(struct clinux_workers *workers) {
    pthread_mutex_lock(&workers->lock);
    workers->waiting = workers->done_head == workers->done_tail;
    bool begun = workers->waiting;
    pthread_mutex_unlock(&workers->lock);
    return begun;
}

void clinux_workers_end_wait(struct clinux_workers *workers) {
    pthread_mutex_lock(&workers->lock);
    workers->waiting = false;
    pthread_mutex_unlock(&workers->lock);
}

void clinux_poll_watches(struct clinux_watch *watches, int count, int event, int64_t timeout_ns) {
    struct pollfd set[65];
    struct timespec timeout = {.tv_sec = timeout_ns / 1000000000, .tv_nsec = timeout_ns % 1000000000};
    int watched = count < 64 ? count : 64;
    for (int i = 0; i < watched; i++)
        set[i] = (struct pollfd){.fd = watches[i].descriptor, .events = (short)watches[i].events};
    set[watched] = (struct pollfd){.fd = event, .events = POLLIN};
    int found = ppoll(set, (nfds_t)watched + 1, timeout_ns < 0 ? NULL : &timeout, NULL);
    for (int i = 0; i < watched; i++) {
        short events = found > 0 ? set[i].revents : 0;
        watches[i].result = events & POLLNVAL ? -EBADF : events;
    }
}
