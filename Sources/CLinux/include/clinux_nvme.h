// NVMe commands through the kernel's own driver (linux/nvme_ioctl.h): in a wide ring of io_uring, or one at a time.
#ifndef CLINUX_NVME_H
#define CLINUX_NVME_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct clinux_ring;

/// How one command ended: the status field of its completion without the phase bit, or a negative errno.
struct clinux_nvme_completion {
    uint64_t user_data;
    uint64_t result;
    int32_t status;
    /// IORING_CQE_F_*.
    uint32_t flags;
};

enum { CLINUX_NVME_COMMAND_SIZE = 72 };

/// What the kernel is to be given for an entry of a submission queue: `command`, a struct nvme_uring_cmd. Data is named
/// by an SGL data block, or by a last segment that holds an array of struct iovec; bits 55:32 of the descriptor's
/// second word are the metadata's length. The operation: NVME_URING_CMD_*.
uint32_t clinux_nvme_translate(
    const void *_Nonnull entry, bool is_admin, uint32_t timeout_ms, void *_Nonnull command);

/// Puts such an entry in a wide ring. `descriptor`: of the controller's or the namespace's character device; `slot`:
/// its place among the registered files, or -1; `buffer`: the registered buffer that its data lies in, or -1. False:
/// there is no room.
bool clinux_nvme_prepare(
    struct clinux_ring *_Nonnull ring, const void *_Nonnull entry, bool is_admin, int descriptor, int32_t slot,
    int32_t buffer, uint32_t timeout_ms, uint64_t user_data);

/// As clinux_ring_turn, for a wide ring.
int clinux_nvme_turn(
    struct clinux_ring *_Nonnull ring, struct clinux_nvme_completion *_Nonnull completions, int capacity,
    int *_Nonnull submitted);

/// Has every completion signal an eventfd. 0 or a negative errno.
int clinux_ring_signal(struct clinux_ring *_Nonnull ring, int event);
/// Whether the kernel's io_uring takes commands for devices (5.19).
bool clinux_ring_has_commands(void);

/// Identify, `data` of 4,096 bytes. 0, the controller's status, or a negative errno. Blocks.
int clinux_nvme_identify(int descriptor, uint32_t namespace_id, uint32_t structure, void *_Nonnull data);
/// Whether this process may give commands to the namespace: 0, or a negative errno. None is given.
int clinux_nvme_may_read(int descriptor, uint32_t namespace_id);

#endif
