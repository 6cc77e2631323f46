// Loads and stores of memory that a device shares: its registers, and the queues it reads and writes by DMA.
#ifndef CLINUX_MMIO_H
#define CLINUX_MMIO_H

#include <stdint.h>

// Each is one access of exactly its width. What was stored to memory before a store here is visible to the device when
// it sees that store; what is loaded from memory after a load here is at least as new as what that load saw.
static inline uint32_t clinux_mmio_load32(const void *address) {
    uint32_t value = __atomic_load_n((const volatile uint32_t *)address, __ATOMIC_ACQUIRE);
#if defined(__aarch64__)
    __asm__ volatile("dmb oshld" ::: "memory");
#endif
    return value;
}

static inline void clinux_mmio_store32(void *address, uint32_t value) {
#if defined(__aarch64__)
    __asm__ volatile("dmb oshst" ::: "memory");
#endif
    __atomic_store_n((volatile uint32_t *)address, value, __ATOMIC_RELEASE);
}

// Of ordinary memory: devices' registers do not take part in it.
static inline uint32_t clinux_mmio_exchange32(void *address, uint32_t value) {
    return __atomic_exchange_n((uint32_t *)address, value, __ATOMIC_SEQ_CST);
}

// Orders a store before a load that follows it, as shadow doorbells need (NVM Express Base Specification 2.0, 5.8).
static inline void clinux_mmio_full_barrier(void) { __atomic_thread_fence(__ATOMIC_SEQ_CST); }

#endif
