#include "include/clinux_uring.h"

#include "ring.h"

#include <assert.h>
#include <errno.h>
#include <poll.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <sys/utsname.h>
#include <unistd.h>

// <linux/blkdev.h> of 6.12; Debian 12's headers are 6.1.
#ifndef BLOCK_URING_CMD_DISCARD
#define BLOCK_URING_CMD_DISCARD _IO(0x12, 0)
#endif

static_assert(sizeof(struct clinux_segment) == sizeof(struct iovec), "segments are handed to the kernel as they are");
static_assert(offsetof(struct clinux_segment, length) == offsetof(struct iovec, iov_len), "as above");
static_assert(CLINUX_COMPLETION_MORE == IORING_CQE_F_MORE, "flags are handed on as they are");

static unsigned kernel_flags(uint32_t setup) {
    unsigned flags = IORING_SETUP_CQSIZE | IORING_SETUP_CLAMP;
    if (setup & CLINUX_RING_SUBMIT_ALL) flags |= IORING_SETUP_SUBMIT_ALL;
    if (setup & CLINUX_RING_SINGLE_ISSUER) flags |= IORING_SETUP_SINGLE_ISSUER;
    if (setup & CLINUX_RING_COOPERATIVE) flags |= IORING_SETUP_COOP_TASKRUN | IORING_SETUP_TASKRUN_FLAG;
    if (setup & CLINUX_RING_DEFERRED) flags |= IORING_SETUP_DEFER_TASKRUN | IORING_SETUP_TASKRUN_FLAG;
    if (setup & CLINUX_RING_POLLS_COMPLETIONS) flags |= IORING_SETUP_IOPOLL;
    if (setup & CLINUX_RING_POLLS_SUBMISSIONS) flags |= IORING_SETUP_SQPOLL;
    if (setup & CLINUX_RING_WIDE) flags |= IORING_SETUP_SQE128 | IORING_SETUP_CQE32;
    return flags;
}

int clinux_ring_create(struct clinux_ring **created, uint32_t entries, uint32_t completion_entries, uint32_t setup) {
    // Newest first: 6.1, 6.0, 5.19, 5.18. The kernel answers -EINVAL to a flag it does not know.
    static const uint32_t optional[] = {
        CLINUX_RING_DEFERRED, CLINUX_RING_SINGLE_ISSUER, CLINUX_RING_COOPERATIVE, CLINUX_RING_SUBMIT_ALL};
    struct clinux_ring *ring = calloc(1, sizeof *ring);
    if (ring == NULL) return -ENOMEM;
    // With a submission thread there is no task work of ours to steer, and the kernel refuses the flags.
    if (setup & CLINUX_RING_POLLS_SUBMISSIONS) setup &= ~(uint32_t)(CLINUX_RING_DEFERRED | CLINUX_RING_COOPERATIVE);
    int result = -EINVAL;
    for (size_t dropped = 0;; dropped++) {
        struct io_uring_params parameters = {.flags = kernel_flags(setup), .cq_entries = completion_entries};
        if (setup & CLINUX_RING_POLLS_SUBMISSIONS) parameters.sq_thread_idle = 1000;
        result = io_uring_queue_init_params(entries, &ring->ring, &parameters);
        if (result != -EINVAL || dropped == sizeof optional / sizeof *optional) break;
        setup &= ~optional[dropped];
    }
    // Waiting with a time limit and without losing completions: 5.11.
    unsigned needed = IORING_FEAT_EXT_ARG | IORING_FEAT_NODROP;
    if (result == 0 && (ring->ring.features & needed) != needed) {
        io_uring_queue_exit(&ring->ring);
        result = -EOPNOTSUPP;
    }
    if (result < 0) {
        free(ring);
        return result;
    }
    ring->setup = setup;
    ring->owner = (pid_t)syscall(SYS_gettid);
    // Spares a reference to the ring's file on each system call; older kernels do without.
    (void)io_uring_register_ring_fd(&ring->ring);
    *created = ring;
    return 0;
}

void clinux_ring_destroy(struct clinux_ring *ring) {
    if ((pid_t)syscall(SYS_gettid) != ring->owner) {
        // The registered descriptor is a number of the owner's thread: on this one it may be another ring's.
        ring->ring.enter_ring_fd = ring->ring.ring_fd;
        ring->ring.int_flags = 0;
    }
    io_uring_queue_exit(&ring->ring);
    free(ring);
}

uint32_t clinux_ring_setup(const struct clinux_ring *ring) { return ring->setup; }
uint32_t clinux_ring_entries(const struct clinux_ring *ring) { return ring->ring.sq.ring_entries; }
uint32_t clinux_ring_completion_entries(const struct clinux_ring *ring) { return ring->ring.cq.ring_entries; }

void clinux_yield(void) { sched_yield(); }

bool clinux_ring_can_discard(void) {
    struct utsname name;
    unsigned major = 0, minor = 0;
    if (uname(&name) != 0 || sscanf(name.release, "%u.%u", &major, &minor) != 2) return false;
    return major > 6 || (major == 6 && minor >= 12);
}

int clinux_ring_create_file_table(struct clinux_ring *ring, uint32_t count) {
    int *empty = malloc(count * sizeof *empty);
    if (empty == NULL) return -ENOMEM;
    memset(empty, 0xff, count * sizeof *empty);
    int result = io_uring_register_files(&ring->ring, empty, count);
    free(empty);
    return result;
}

int clinux_ring_set_file(struct clinux_ring *ring, uint32_t slot, int32_t descriptor) {
    int result = io_uring_register_files_update(&ring->ring, slot, &descriptor, 1);
    return result < 0 ? result : 0;
}

int clinux_ring_create_buffer_table(struct clinux_ring *ring, uint32_t count) {
    return io_uring_register_buffers_sparse(&ring->ring, count);
}

int clinux_ring_set_buffer(struct clinux_ring *ring, uint32_t index, void *base, size_t byte_count) {
    struct iovec vector = {.iov_base = base, .iov_len = byte_count};
    __u64 tag = 0;
    int result = io_uring_register_buffers_update_tag(&ring->ring, index, &vector, &tag, 1);
    return result < 0 ? result : 0;
}

int clinux_ring_submit(struct clinux_ring *ring, bool get_events) {
    int taken = get_events ? io_uring_submit_and_get_events(&ring->ring) : io_uring_submit(&ring->ring);
    // The submission thread takes what is published, sooner or later; without one, a short count stays ours.
    ring->prepared = ring->setup & CLINUX_RING_POLLS_SUBMISSIONS ? 0 : io_uring_sq_ready(&ring->ring);
    return taken;
}

struct io_uring_sqe *clinux_ring_next_entry(struct clinux_ring *ring) {
    struct io_uring_sqe *entry = io_uring_get_sqe(&ring->ring);
    if (__builtin_expect(entry == NULL, 0)) {
        clinux_ring_submit(ring, false);
        entry = io_uring_get_sqe(&ring->ring);
        if (entry == NULL) return NULL;
    }
    ring->prepared++;
    return entry;
}

static void prepare_transfer(
    struct io_uring_sqe *entry, const struct clinux_operation *operation, int plain, int vector, int fixed) {
    bool is_vector = operation->kind == CLINUX_READ_VECTOR || operation->kind == CLINUX_WRITE_VECTOR;
    int opcode = is_vector ? vector : operation->buffer >= 0 ? fixed : plain;
    io_uring_prep_rw(opcode, entry, operation->descriptor, operation->address, (unsigned)operation->length,
                     operation->offset);
    entry->rw_flags = (__kernel_rwf_t)operation->flags;
    if (opcode == fixed) entry->buf_index = (__u16)operation->buffer;
}

bool clinux_ring_prepare(struct clinux_ring *ring, const struct clinux_operation *operation) {
    struct io_uring_sqe *entry = clinux_ring_next_entry(ring);
    if (entry == NULL) return false;
    int descriptor = operation->descriptor;
    switch ((enum clinux_operation_kind)operation->kind) {
    case CLINUX_READ:
    case CLINUX_READ_VECTOR:
        prepare_transfer(entry, operation, IORING_OP_READ, IORING_OP_READV, IORING_OP_READ_FIXED);
        break;
    case CLINUX_WRITE:
    case CLINUX_WRITE_VECTOR:
        prepare_transfer(entry, operation, IORING_OP_WRITE, IORING_OP_WRITEV, IORING_OP_WRITE_FIXED);
        break;
    case CLINUX_SYNC:
        io_uring_prep_fsync(entry, descriptor, operation->flags ? IORING_FSYNC_DATASYNC : 0);
        break;
    case CLINUX_ALLOCATE:
        io_uring_prep_fallocate(
            entry, descriptor, (int)operation->flags, (off_t)operation->offset, (off_t)operation->length);
        break;
    case CLINUX_POLL:
        io_uring_prep_poll_add(entry, descriptor, operation->flags);
        break;
    case CLINUX_DISCARD:
        io_uring_prep_rw(IORING_OP_URING_CMD, entry, descriptor, NULL, 0, 0);
        entry->cmd_op = BLOCK_URING_CMD_DISCARD;
        entry->addr = operation->offset;
        entry->addr3 = operation->length;
        break;
    case CLINUX_CANCEL:
        io_uring_prep_cancel64(entry, operation->offset, 0);
        break;
    case CLINUX_NOP:
        io_uring_prep_nop(entry);
        break;
    }
    if (operation->slot >= 0) {
        entry->fd = operation->slot;
        entry->flags |= IOSQE_FIXED_FILE;
    }
    entry->user_data = operation->user_data;
    return true;
}

bool clinux_ring_watch(struct clinux_ring *ring, int event, bool multishot) {
    struct io_uring_sqe *entry = clinux_ring_next_entry(ring);
    if (entry == NULL) return false;
    if (multishot) io_uring_prep_poll_multishot(entry, event, POLLIN);
    else io_uring_prep_poll_add(entry, event, POLLIN);
    entry->user_data = CLINUX_WAKE_USER_DATA;
    return true;
}

int clinux_ring_push(struct clinux_ring *ring) {
    bool polls = ring->setup & CLINUX_RING_POLLS_COMPLETIONS;
    if (ring->prepared > 0) {
        int taken = clinux_ring_submit(ring, polls || (ring->setup & CLINUX_RING_DEFERRED));
        return taken > 0 ? taken : 0;
    }
    if (polls || (IO_URING_READ_ONCE(*ring->ring.sq.kflags) & (IORING_SQ_TASKRUN | IORING_SQ_CQ_OVERFLOW))) {
        io_uring_get_events(&ring->ring);
    }
    return 0;
}

int clinux_ring_turn(struct clinux_ring *ring, struct clinux_completion *completions, int capacity, int *submitted) {
    *submitted = clinux_ring_push(ring);
    unsigned head;
    int count = 0;
    struct io_uring_cqe *completion;
    io_uring_for_each_cqe(&ring->ring, head, completion) {
        if (count == capacity) break;
        completions[count++] =
            (struct clinux_completion){completion->user_data, completion->res, completion->flags};
    }
    if (count > 0) io_uring_cq_advance(&ring->ring, (unsigned)count);
    return count;
}

void clinux_ring_wait(struct clinux_ring *ring, int64_t timeout_ns) {
    struct __kernel_timespec limit = {.tv_sec = timeout_ns / 1000000000, .tv_nsec = timeout_ns % 1000000000};
    struct io_uring_cqe *completion;
    io_uring_submit_and_wait_timeout(&ring->ring, &completion, 1, timeout_ns < 0 ? NULL : &limit, NULL);
    ring->prepared = ring->setup & CLINUX_RING_POLLS_SUBMISSIONS ? 0 : io_uring_sq_ready(&ring->ring);
}

int clinux_ring_take_wakes(struct clinux_ring *ring) {
    unsigned head, count = 0;
    int found = 0;
    struct io_uring_cqe *completion;
    io_uring_for_each_cqe(&ring->ring, head, completion) {
        if (completion->user_data != CLINUX_WAKE_USER_DATA) break;
        found |= 1;
        if (!(completion->flags & IORING_CQE_F_MORE)) found |= 2;
        if (completion->res < 0) found |= 4;
        count++;
    }
    if (count > 0) io_uring_cq_advance(&ring->ring, count);
    return found;
}
