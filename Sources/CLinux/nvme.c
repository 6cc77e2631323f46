#include "include/clinux_nvme.h"

#include "ring.h"

#include <assert.h>
#include <errno.h>
#include <linux/nvme_ioctl.h>
#include <string.h>
#include <sys/ioctl.h>

static_assert(sizeof(struct nvme_uring_cmd) == CLINUX_NVME_COMMAND_SIZE, "commands are made as the kernel takes them");

// NVM Express Base Specification 2.0, figures 88 and 98.
enum { USES_SGL = 0x4000, LAST_SEGMENT = 0x30, DESCRIPTOR_SIZE = 16 };

uint32_t clinux_nvme_translate(const void *entry, bool is_admin, uint32_t timeout_ms, void *command) {
    uint32_t word[16];
    memcpy(word, entry, sizeof word);
    struct nvme_uring_cmd result = {
        .opcode = word[0] & 0xff,
        .nsid = word[1],
        .cdw2 = word[2],
        .cdw3 = word[3],
        .cdw10 = word[10],
        .cdw11 = word[11],
        .cdw12 = word[12],
        .cdw13 = word[13],
        .cdw14 = word[14],
        .cdw15 = word[15],
        .timeout_ms = timeout_ms,
    };
    bool is_vector = false;
    if (word[0] & USES_SGL) {
        result.addr = word[6] | (uint64_t)word[7] << 32;
        result.data_len = word[8];
        is_vector = word[9] >> 24 == LAST_SEGMENT;
        if (is_vector) result.data_len /= DESCRIPTOR_SIZE;
        result.metadata_len = word[9] & 0xffffff;
        if (result.metadata_len > 0) result.metadata = word[4] | (uint64_t)word[5] << 32;
    }
    memcpy(command, &result, sizeof result);
    if (is_admin) return is_vector ? NVME_URING_CMD_ADMIN_VEC : NVME_URING_CMD_ADMIN;
    return is_vector ? NVME_URING_CMD_IO_VEC : NVME_URING_CMD_IO;
}

bool clinux_nvme_prepare(
    struct clinux_ring *ring, const void *command, bool is_admin, int descriptor, int32_t slot, int32_t buffer,
    uint32_t timeout_ms, uint64_t user_data) {
    struct io_uring_sqe *entry = clinux_ring_next_entry(ring);
    if (entry == NULL) return false;
    memset(entry, 0, 2 * sizeof *entry);
    entry->opcode = IORING_OP_URING_CMD;
    entry->fd = descriptor;
    if (slot >= 0) {
        entry->fd = slot;
        entry->flags = IOSQE_FIXED_FILE;
    }
    if (buffer >= 0) {
        entry->uring_cmd_flags = IORING_URING_CMD_FIXED;
        entry->buf_index = (uint16_t)buffer;
    }
    entry->user_data = user_data;
    entry->cmd_op = clinux_nvme_translate(command, is_admin, timeout_ms, entry->cmd);
    return true;
}

int clinux_nvme_turn(
    struct clinux_ring *ring, struct clinux_nvme_completion *completions, int capacity, int *submitted) {
    *submitted = clinux_ring_push(ring);
    unsigned head;
    int count = 0;
    struct io_uring_cqe *completion;
    io_uring_for_each_cqe(&ring->ring, head, completion) {
        if (count == capacity) break;
        completions[count++] = (struct clinux_nvme_completion){
            completion->user_data, completion->big_cqe[0], completion->res, completion->flags};
    }
    if (count > 0) io_uring_cq_advance(&ring->ring, (unsigned)count);
    return count;
}

int clinux_ring_signal(struct clinux_ring *ring, int event) { return io_uring_register_eventfd(&ring->ring, event); }

bool clinux_ring_has_commands(void) {
    struct io_uring_probe *probe = io_uring_get_probe();
    if (probe == NULL) return false;
    bool has = io_uring_opcode_supported(probe, IORING_OP_URING_CMD);
    io_uring_free_probe(probe);
    return has;
}

int clinux_nvme_identify(int descriptor, uint32_t namespace_id, uint32_t structure, void *data) {
    struct nvme_admin_cmd command = {
        .opcode = 0x06,
        .nsid = namespace_id,
        .addr = (uintptr_t)data,
        .data_len = 4096,
        .cdw10 = structure,
    };
    int status = ioctl(descriptor, NVME_IOCTL_ADMIN_CMD, &command);
    return status < 0 ? -errno : status;
}

int clinux_nvme_may_read(int descriptor, uint32_t namespace_id) {
    // No process has memory there: the kernel looks at the rights first, and gives the controller nothing.
    struct nvme_passthru_cmd command = {.opcode = 0x02, .nsid = namespace_id, .addr = 16, .data_len = 4096};
    int status = ioctl(descriptor, NVME_IOCTL_IO_CMD, &command);
    return status < 0 && (errno == EACCES || errno == EPERM) ? -errno : 0;
}
