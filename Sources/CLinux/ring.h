// What the files about rings share.
#ifndef RING_H
#define RING_H

#include <liburing.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

struct clinux_ring {
    struct io_uring ring;
    uint32_t setup;
    unsigned prepared;
    pid_t owner;
};

/// A free entry, after submitting what is there when the queue is full. Null: there is still no room.
struct io_uring_sqe *clinux_ring_next_entry(struct clinux_ring *ring);
int clinux_ring_submit(struct clinux_ring *ring, bool get_events);
/// Submits what was prepared, and lets the kernel finish what is ready. How many the kernel took.
int clinux_ring_push(struct clinux_ring *ring);

#endif
