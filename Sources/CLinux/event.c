#include "include/clinux_event.h"

#include <errno.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

int clinux_event_create(void) {
    int event = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    return event >= 0 ? event : -errno;
}

void clinux_event_signal(int event) {
    uint64_t one = 1;
    ssize_t written;
    do written = write(event, &one, sizeof one); while (written < 0 && errno == EINTR);
}

void clinux_event_drain(int event) {
    uint64_t count;
    ssize_t got;
    do got = read(event, &count, sizeof count); while (got < 0 && errno == EINTR);
}

void clinux_event_wait(int event, int64_t timeout_ns) {
    struct pollfd watched = {.fd = event, .events = POLLIN};
    struct timespec timeout = {.tv_sec = timeout_ns / 1000000000, .tv_nsec = timeout_ns % 1000000000};
    ppoll(&watched, 1, timeout_ns < 0 ? 0 : &timeout, 0);
}

void clinux_close(int descriptor) { close(descriptor); }
