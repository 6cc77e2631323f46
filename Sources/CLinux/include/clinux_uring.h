// io_uring(7), and threads that do the same work where the kernel forbids it. Both take one kind of operation and
// give back one kind of completion, so that their callers need not know which it is.
#ifndef CLINUX_URING_H
#define CLINUX_URING_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum clinux_operation_kind {
    CLINUX_NOP,
    CLINUX_READ,
    CLINUX_WRITE,
    CLINUX_READ_VECTOR,
    CLINUX_WRITE_VECTOR,
    CLINUX_SYNC,      // flags: 1 for the data only
    CLINUX_ALLOCATE,  // flags: the mode of fallocate(2)
    CLINUX_POLL,      // flags: the events of poll(2)
    CLINUX_DISCARD,
    CLINUX_CANCEL,    // offset: the user_data of what is to end
};

/// One operation. `address` is memory of `length` bytes, or an array of `length` segments; both live until it is
/// complete.
struct clinux_operation {
    uint64_t user_data;
    uint64_t offset;
    uint64_t length;
    void *_Nullable address;
    int32_t descriptor;
    /// Its place among the registered files; -1: none.
    int32_t slot;
    /// The registered buffer that `address` lies in; -1: none.
    int32_t buffer;
    /// RWF_* of preadv2(2) for reads and writes.
    uint32_t flags;
    uint8_t kind;
};

/// The result of one operation: a count, or a negative errno. `flags`: IORING_CQE_F_*.
struct clinux_completion {
    uint64_t user_data;
    int32_t result;
    uint32_t flags;
};

/// The layout of the kernel's iovec.
struct clinux_segment {
    void *_Nullable base;
    size_t length;
};

// MARK: The kernel's ring

struct clinux_ring;

enum clinux_ring_setup {
    CLINUX_RING_SUBMIT_ALL = 1,
    CLINUX_RING_COOPERATIVE = 2,
    CLINUX_RING_SINGLE_ISSUER = 4,
    CLINUX_RING_DEFERRED = 8,
    CLINUX_RING_POLLS_COMPLETIONS = 16,
    CLINUX_RING_POLLS_SUBMISSIONS = 32,
    /// Entries of 128 bytes and completions of 32 (5.19). Granted or refused.
    CLINUX_RING_WIDE = 64,
};

/// The completion that says the eventfd was signalled.
#define CLINUX_WAKE_USER_DATA 1u
#define CLINUX_COMPLETION_MORE 2u

/// Makes a ring for the calling thread. `setup`: what is wanted, a set of `clinux_ring_setup`; the last three are
/// granted or refused, the others dropped one after another until the kernel agrees. 0 or a negative errno.
/// io_uring_setup(2).
int clinux_ring_create(
    struct clinux_ring *_Nullable *_Nonnull ring, uint32_t entries, uint32_t completion_entries, uint32_t setup);
/// Unmaps and closes it. Nothing may be in flight.
void clinux_ring_destroy(struct clinux_ring *_Nonnull ring);
/// What was granted.
uint32_t clinux_ring_setup(const struct clinux_ring *_Nonnull ring);
uint32_t clinux_ring_entries(const struct clinux_ring *_Nonnull ring);
uint32_t clinux_ring_completion_entries(const struct clinux_ring *_Nonnull ring);
/// Whether the kernel takes BLOCK_URING_CMD_DISCARD (6.12).
bool clinux_ring_can_discard(void);

/// Tables of registered files and buffers, empty at first. 0 or a negative errno. io_uring_register(2).
int clinux_ring_create_file_table(struct clinux_ring *_Nonnull ring, uint32_t count);
/// `descriptor` -1 empties the slot.
int clinux_ring_set_file(struct clinux_ring *_Nonnull ring, uint32_t slot, int32_t descriptor);
int clinux_ring_create_buffer_table(struct clinux_ring *_Nonnull ring, uint32_t count);
int clinux_ring_set_buffer(
    struct clinux_ring *_Nonnull ring, uint32_t index, void *_Nullable base, size_t byte_count);

/// Puts an operation in the submission queue, submitting what is there when it is full. False: there is still no room.
bool clinux_ring_prepare(struct clinux_ring *_Nonnull ring, const struct clinux_operation *_Nonnull operation);
/// Watches the eventfd, until told otherwise if `multishot`. False: there is no room.
bool clinux_ring_watch(struct clinux_ring *_Nonnull ring, int event, bool multishot);
/// Submits what was prepared, lets the kernel finish what is ready, and takes up to `capacity` completions. Does not
/// block. How many were taken; `*submitted`: how many operations the kernel took.
int clinux_ring_turn(
    struct clinux_ring *_Nonnull ring, struct clinux_completion *_Nonnull completions, int capacity,
    int *_Nonnull submitted);
/// Submits what was prepared and blocks until there is a completion or the time is over (negative: no limit).
void clinux_ring_wait(struct clinux_ring *_Nonnull ring, int64_t timeout_ns);
/// Drops wake-ups that stand first in the completion queue. Bit 0: there was one; bit 1: the eventfd is not watched
/// any more; bit 2: the kernel refused to watch it.
int clinux_ring_take_wakes(struct clinux_ring *_Nonnull ring);

/// Lets another thread have this core, if one wants it. sched_yield(2).
void clinux_yield(void);

/// Does one operation on the calling thread, with the system call that is the same. What it counts, or a negative
/// errno.
int64_t clinux_operation_perform(const struct clinux_operation *_Nonnull operation);

// MARK: Threads instead

struct clinux_workers;

/// Threads are started with the first operation. `capacity`: operations outstanding, at most. `event`: signalled when
/// a result arrives while the owner waits. Null: no memory.
struct clinux_workers *_Nullable clinux_workers_create(uint32_t threads, uint32_t capacity, int event);
/// Ends the threads and frees everything. Nothing may be outstanding.
void clinux_workers_destroy(struct clinux_workers *_Nonnull workers);
/// Takes an operation; it starts at the next `clinux_workers_publish`. False: the capacity is used up.
bool clinux_workers_prepare(struct clinux_workers *_Nonnull workers, const struct clinux_operation *_Nonnull operation);
/// Hands what was prepared to the threads. 0, or a negative errno when there is no thread at all.
int clinux_workers_publish(struct clinux_workers *_Nonnull workers);
/// Whether a result is ready. One load.
bool clinux_workers_ready(const struct clinux_workers *_Nonnull workers);
int clinux_workers_take(
    struct clinux_workers *_Nonnull workers, struct clinux_completion *_Nonnull completions, int capacity);
/// What has not begun ends with -ECANCELED. Whether it was found.
bool clinux_workers_cancel(struct clinux_workers *_Nonnull workers, uint64_t user_data);
/// From here results signal the eventfd. False: one is ready already, and nothing was changed.
bool clinux_workers_begin_wait(struct clinux_workers *_Nonnull workers);
void clinux_workers_end_wait(struct clinux_workers *_Nonnull workers);

struct clinux_watch {
    uint64_t user_data;
    int32_t descriptor;
    uint32_t events;
    /// Set by `clinux_poll_watches`: the events found, or a negative errno; 0: none.
    int32_t result;
};

/// poll(2) over `watches` and `event` (-1: none). 0 does not block; negative: no limit.
void clinux_poll_watches(struct clinux_watch *_Nullable watches, int count, int event, int64_t timeout_ns);

#endif
