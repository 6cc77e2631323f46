#include "include/clinux_crc.h"

#include <endian.h>
#include <pthread.h>
#include <string.h>

#if defined(__x86_64__)
#include <immintrin.h>
#endif

// A state has its bytes in the order of the data: XORing it into the next eight bytes, read little-endian, is how a CRC
// takes its state in. For a reflected CRC that is the register as it is; for the other, the register with its highest
// byte first. So one table loop does for all kinds.
struct clinux_crc {
    int width;
    bool is_reflected;
    /// The polynomial without its highest term; bit-reversed when reflected.
    uint64_t polynomial;
    uint64_t begin;
    /// table[n][b]: what the byte b becomes when n more zero bytes follow it.
    uint64_t table[8][256];
    /// Multipliers for the low and the high half of a lane of 16 bytes, to move it over so many bytes.
    uint64_t over_16[2], over_64[2], over_256[2];
};

/// x^n modulo the polynomial, where a carry-less product of 64-bit halves wants it: bit 63 is x^0 when reflected,
/// bit 0 when not.
static uint64_t power(const struct clinux_crc *crc, int n) {
    uint64_t top = 1ULL << (crc->width - 1), value = crc->is_reflected ? top : 1;
    for (int i = 0; i < n; i++) {
        if (crc->is_reflected) value = (value >> 1) ^ (value & 1 ? crc->polynomial : 0);
        else value = ((value & (top - 1)) << 1) ^ (value & top ? crc->polynomial : 0);
    }
    return crc->is_reflected ? value << (64 - crc->width) : value;
}

/// The first bytes of a lane are its highest powers: the low half when reflected, the high one when not. The product of
/// two reflected halves comes out one power too high.
static void make_multipliers(const struct clinux_crc *crc, int byte_count, uint64_t multipliers[2]) {
    int bits = byte_count * 8;
    multipliers[0] = power(crc, crc->is_reflected ? bits + 64 - 1 : bits);
    multipliers[1] = power(crc, crc->is_reflected ? bits - 1 : bits + 64);
}

static uint64_t byte_state(const struct clinux_crc *crc, int byte) {
    if (crc->is_reflected) {
        uint64_t value = (uint64_t)byte;
        for (int bit = 0; bit < 8; bit++) value = (value >> 1) ^ (value & 1 ? crc->polynomial : 0);
        return value;
    }
    uint64_t value = (uint64_t)byte << 56;
    for (int bit = 0; bit < 8; bit++) value = (value << 1) ^ (value >> 63 ? crc->polynomial << (64 - crc->width) : 0);
    return __builtin_bswap64(value);
}

static struct clinux_crc crcs[] = {
    [CLINUX_CRC16_T10DIF] = {.width = 16, .is_reflected = false, .polynomial = 0x8BB7},
    [CLINUX_CRC32C] = {.width = 32, .is_reflected = true, .polynomial = 0x82F63B78, .begin = 0xFFFFFFFF},
    [CLINUX_CRC64_NVME] = {.width = 64, .is_reflected = true, .polynomial = 0x9A6C9329AC4BC9B5, .begin = ~0ULL},
};

static uint64_t update_by_tables(const struct clinux_crc *crc, uint64_t state, const uint8_t *next,
                                 int64_t byte_count) {
    for (; byte_count >= 8; byte_count -= 8, next += 8) {
        uint64_t word;
        memcpy(&word, next, 8);
        word = le64toh(word) ^ state;
        state = crc->table[7][word & 0xFF] ^ crc->table[6][word >> 8 & 0xFF] ^ crc->table[5][word >> 16 & 0xFF]
              ^ crc->table[4][word >> 24 & 0xFF] ^ crc->table[3][word >> 32 & 0xFF] ^ crc->table[2][word >> 40 & 0xFF]
              ^ crc->table[1][word >> 48 & 0xFF] ^ crc->table[0][word >> 56];
    }
    for (; byte_count > 0; byte_count--) state = (state >> 8) ^ crc->table[0][(state ^ *next++) & 0xFF];
    return state;
}

#if defined(__x86_64__)

#define INLINE static inline __attribute__((always_inline))
#define NARROW __attribute__((target("pclmul,ssse3")))
#define WIDE __attribute__((target("pclmul,ssse3,avx512f,avx512bw,vpclmulqdq")))

/// Reverses 16 bytes: a CRC that is not reflected has its first byte highest.
NARROW INLINE __m128i reversal(void) { return _mm_set_epi8(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15); }

/// 16 bytes with their first bit as the highest power, in the order of bits that the kind has.
NARROW INLINE __m128i load(const uint8_t *bytes, bool is_reflected) {
    __m128i lane = _mm_loadu_si128((const __m128i *)bytes);
    return is_reflected ? lane : _mm_shuffle_epi8(lane, reversal());
}

/// What is congruent to `lane`, moved over as many bytes as the multipliers say, plus `next`.
NARROW INLINE __m128i fold(__m128i lane, const uint64_t multipliers[2], __m128i next) {
    __m128i factors = _mm_loadu_si128((const __m128i *)multipliers);
    __m128i low = _mm_clmulepi64_si128(lane, factors, 0x00), high = _mm_clmulepi64_si128(lane, factors, 0x11);
    return _mm_xor_si128(_mm_xor_si128(low, high), next);
}

/// Folds four lanes and what follows them, up to the last bytes (fewer than 16), into 16 bytes of the same remainder,
/// which the tables then take. After Gopal and others, "Fast CRC Computation for Generic Polynomials Using PCLMULQDQ
/// Instruction" (Intel, 2009).
NARROW INLINE uint64_t finish(const struct clinux_crc *crc, __m128i lanes[4], const uint8_t *next, int64_t byte_count,
                              bool is_reflected) {
    __m128i lane = lanes[0];
    for (int i = 1; i < 4; i++) lane = fold(lane, crc->over_16, lanes[i]);
    for (; byte_count >= 16; next += 16, byte_count -= 16) lane = fold(lane, crc->over_16, load(next, is_reflected));
    uint8_t folded[16];
    _mm_storeu_si128((__m128i *)folded, is_reflected ? lane : _mm_shuffle_epi8(lane, reversal()));
    return update_by_tables(crc, update_by_tables(crc, 0, folded, 16), next, byte_count);
}

NARROW INLINE uint64_t narrow(const struct clinux_crc *crc, uint64_t state, const uint8_t *next, int64_t byte_count,
                              bool is_reflected) {
    uint8_t first[16];
    uint64_t word;
    memcpy(first, next, 16);
    memcpy(&word, first, 8);
    word ^= state;
    memcpy(first, &word, 8);
    __m128i lanes[4] = {load(first, is_reflected)};
    for (int i = 1; i < 4; i++) lanes[i] = load(next + 16 * i, is_reflected);
    for (next += 64, byte_count -= 64; byte_count >= 64; next += 64, byte_count -= 64)
        for (int i = 0; i < 4; i++) lanes[i] = fold(lanes[i], crc->over_64, load(next + 16 * i, is_reflected));
    return finish(crc, lanes, next, byte_count, is_reflected);
}

/// As `load`, four lanes at once.
WIDE INLINE __m512i load_wide(const uint8_t *bytes, bool is_reflected) {
    __m512i lanes = _mm512_loadu_si512(bytes);
    return is_reflected ? lanes : _mm512_shuffle_epi8(lanes, _mm512_broadcast_i32x4(reversal()));
}

/// As `fold`, four lanes at once.
WIDE INLINE __m512i fold_wide(__m512i lanes, const uint64_t multipliers[2], __m512i next) {
    __m512i factors = _mm512_broadcast_i32x4(_mm_loadu_si128((const __m128i *)multipliers));
    __m512i low = _mm512_clmulepi64_epi128(lanes, factors, 0x00);
    __m512i high = _mm512_clmulepi64_epi128(lanes, factors, 0x11);
    return _mm512_ternarylogic_epi64(low, high, next, 0x96);
}

WIDE INLINE uint64_t wide(const struct clinux_crc *crc, uint64_t state, const uint8_t *next, int64_t byte_count,
                          bool is_reflected) {
    __m512i first = _mm512_xor_si512(load_wide(next, true), _mm512_zextsi128_si512(_mm_cvtsi64_si128((int64_t)state)));
    if (!is_reflected) first = _mm512_shuffle_epi8(first, _mm512_broadcast_i32x4(reversal()));
    __m512i lanes[4] = {first};
    for (int i = 1; i < 4; i++) lanes[i] = load_wide(next + 64 * i, is_reflected);
    for (next += 256, byte_count -= 256; byte_count >= 256; next += 256, byte_count -= 256)
        for (int i = 0; i < 4; i++)
            lanes[i] = fold_wide(lanes[i], crc->over_256, load_wide(next + 64 * i, is_reflected));
    __m512i four = lanes[0];
    for (int i = 1; i < 4; i++) four = fold_wide(four, crc->over_64, lanes[i]);
    for (; byte_count >= 64; next += 64, byte_count -= 64)
        four = fold_wide(four, crc->over_64, load_wide(next, is_reflected));
    __m128i last[4] = {_mm512_extracti32x4_epi32(four, 0), _mm512_extracti32x4_epi32(four, 1),
                       _mm512_extracti32x4_epi32(four, 2), _mm512_extracti32x4_epi32(four, 3)};
    return finish(crc, last, next, byte_count, is_reflected);
}

// Each call has a copy of its own, with the order of bits as a constant.
NARROW static uint64_t update_narrow(const struct clinux_crc *crc, uint64_t state, const uint8_t *bytes,
                                     int64_t count) {
    return crc->is_reflected ? narrow(crc, state, bytes, count, true) : narrow(crc, state, bytes, count, false);
}

WIDE static uint64_t update_wide(const struct clinux_crc *crc, uint64_t state, const uint8_t *bytes,
                                 int64_t count) {
    return crc->is_reflected ? wide(crc, state, bytes, count, true) : wide(crc, state, bytes, count, false);
}

static enum clinux_crc_path best_path(void) {
    if (!__builtin_cpu_supports("pclmul") || !__builtin_cpu_supports("ssse3")) return CLINUX_CRC_TABLES;
    bool is_wide = __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw")
                && __builtin_cpu_supports("vpclmulqdq");
    return is_wide ? CLINUX_CRC_WIDE : CLINUX_CRC_NARROW;
}

#else

static enum clinux_crc_path best_path(void) { return CLINUX_CRC_TABLES; }

#endif

/// The fastest way this processor has.
static enum clinux_crc_path best;

static void make_crcs(void) {
    best = best_path();
    for (unsigned kind = 0; kind < sizeof crcs / sizeof *crcs; kind++) {
        struct clinux_crc *crc = &crcs[kind];
        for (int byte = 0; byte < 256; byte++) crc->table[0][byte] = byte_state(crc, byte);
        for (int n = 1; n < 8; n++)
            for (int byte = 0; byte < 256; byte++)
                crc->table[n][byte] = update_by_tables(crc, crc->table[n - 1][byte], (const uint8_t[]){0}, 1);
        make_multipliers(crc, 16, crc->over_16);
        make_multipliers(crc, 64, crc->over_64);
        make_multipliers(crc, 256, crc->over_256);
    }
}

const struct clinux_crc *clinux_crc_of_kind(enum clinux_crc_kind kind) {
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, make_crcs);
    return &crcs[kind];
}

uint64_t clinux_crc_begin(const struct clinux_crc *crc) { return crc->begin; }

uint64_t clinux_crc_end(const struct clinux_crc *crc, uint64_t state) {
    return crc->is_reflected ? state ^ crc->begin : __builtin_bswap64(state) >> (64 - crc->width);
}

uint64_t clinux_crc_update(const struct clinux_crc *crc, enum clinux_crc_path limit, uint64_t state, const void *bytes,
                           int64_t byte_count) {
#if defined(__x86_64__)
    enum clinux_crc_path path = limit < best ? limit : best;
    if (path >= CLINUX_CRC_WIDE && byte_count >= 256) return update_wide(crc, state, bytes, byte_count);
    if (path >= CLINUX_CRC_NARROW && byte_count >= 64) return update_narrow(crc, state, bytes, byte_count);
#else
    (void)limit;
#endif
    return update_by_tables(crc, state, bytes, byte_count);
}
