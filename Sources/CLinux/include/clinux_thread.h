// The calling thread: which reactor it is, where it may run, what it is called.
#ifndef CLINUX_THREAD_H
#define CLINUX_THREAD_H

#ifndef _GNU_SOURCE
#define _GNU_SOURCE 1
#endif
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/// The reactor whose thread this is. One load from thread-local storage; initial-exec, so never a call.
extern __thread void *_Nullable clinux_current_reactor_slot __attribute__((tls_model("initial-exec")));

static inline void *_Nullable clinux_current_reactor(void) { return clinux_current_reactor_slot; }
static inline void clinux_set_current_reactor(void *_Nullable reactor) { clinux_current_reactor_slot = reactor; }

/// Tells the processor that this is a spin loop.
static inline void clinux_spin_hint(void) {
#if defined(__x86_64__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("yield");
#endif
}

/// Sets `allowed[core]` to 1 for each core this process may run on, of the first `count`. The number of
/// cores set, or a negative errno. sched_getaffinity(2).
int clinux_process_cores(uint8_t *_Nonnull allowed, size_t count);
/// The first 15 bytes are kept. pthread_setname_np(3).
void clinux_name_thread(const char *_Nonnull name);
/// gettid(2).
int32_t clinux_thread_id(void);
/// The core the calling thread runs on at this moment. sched_getcpu(3).
int32_t clinux_current_core(void);

/// Starts a thread pinned to `core` from its first instruction, so that its stack is local to the core's node; it calls
/// `body(context)`. 0, or a negative errno (-EINVAL: no such core, or not allowed). Joined with `clinux_join_thread`.
int clinux_start_pinned_thread(
    uint64_t *_Nonnull thread, uint32_t core, void (*_Nonnull body)(void *_Nonnull), void *_Nonnull context);
/// The same without pinning.
int clinux_start_thread(uint64_t *_Nonnull thread, void (*_Nonnull body)(void *_Nonnull), void *_Nonnull context);
void clinux_join_thread(uint64_t thread);
/// Its resources go with it; it cannot be joined any more.
void clinux_detach_thread(uint64_t thread);

#endif
