// Cyclic redundancy checks: the guards of protected blocks.
#ifndef CLINUX_CRC_H
#define CLINUX_CRC_H

#include <stdbool.h>
#include <stdint.h>

enum clinux_crc_kind {
    /// CRC-16/T10-DIF: polynomial 0x8BB7, starts at 0, not reflected.
    CLINUX_CRC16_T10DIF,
    /// CRC-32C (Castagnoli): polynomial 0x1EDC6F41, starts at and ends with all ones, reflected.
    CLINUX_CRC32C,
    /// CRC-64/NVME: polynomial 0xAD93D23594C93659, starts at and ends with all ones, reflected.
    CLINUX_CRC64_NVME
};

/// How it is computed, from the slowest up. The results are the same.
enum clinux_crc_path {
    /// Eight bytes a step, by tables.
    CLINUX_CRC_TABLES,
    /// 64 bytes a step, by carry-less multiplication (PCLMULQDQ).
    CLINUX_CRC_NARROW,
    /// 256 bytes a step (VPCLMULQDQ with AVX-512).
    CLINUX_CRC_WIDE
};

/// One kind with its tables. There is one of each for the whole process, made when first asked for and never freed.
struct clinux_crc;

const struct clinux_crc *_Nonnull clinux_crc_of_kind(enum clinux_crc_kind kind);
/// The state before the first byte. What a state means is not for others: `clinux_crc_end` makes the check value of it.
uint64_t clinux_crc_begin(const struct clinux_crc *_Nonnull crc);
/// The state after `byte_count` bytes more, on the fastest path that the processor has and `limit` allows.
uint64_t clinux_crc_update(const struct clinux_crc *_Nonnull crc, enum clinux_crc_path limit, uint64_t state,
                           const void *_Nonnull bytes, int64_t byte_count);
/// The check value, in the low bits.
uint64_t clinux_crc_end(const struct clinux_crc *_Nonnull crc, uint64_t state);

#endif
