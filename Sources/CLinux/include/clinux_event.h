// eventfd(2): how another thread wakes a reactor.
#ifndef CLINUX_EVENT_H
#define CLINUX_EVENT_H

#include <stdint.h>

/// A non-blocking, close-on-exec eventfd, or a negative errno.
int clinux_event_create(void);
/// Never blocks: a counter at its maximum is already a wake-up.
void clinux_event_signal(int event);
/// Resets the counter.
void clinux_event_drain(int event);
/// Waits until `event` is signalled or `timeout_ns` has passed (a negative value: no limit). ppoll(2).
void clinux_event_wait(int event, int64_t timeout_ns);

/// close(2); errors are ignored, since the descriptor is gone either way.
void clinux_close(int descriptor);

#endif
