#include "include/clinux_iommufd.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/ioctl.h>

// Each request begins with its own size, by which the kernel tells versions apart.

struct space_request {
    uint32_t size, flags, space;
};

struct ranges_request {
    uint32_t size, space, count, reserved;
    uint64_t ranges, alignment;
};

struct map_request {
    uint32_t size, flags, space, reserved;
    uint64_t memory, byte_count, address;
};

struct unmap_request {
    uint32_t size, space;
    uint64_t address, byte_count;
};

struct bind_request {
    uint32_t size, flags;
    int32_t iommufd;
    uint32_t device;
};

struct attach_request {
    uint32_t size, flags, space;
};

enum {
    MAKE_SPACE = _IO(';', 0x81),
    RANGES = _IO(';', 0x84),
    MAP = _IO(';', 0x85),
    UNMAP = _IO(';', 0x86),
    BIND = _IO(';', 118),
    ATTACH = _IO(';', 119),
};

enum { AT_GIVEN_ADDRESS = 1, WRITEABLE = 2, READABLE = 4 };

static int outcome(int result) { return result < 0 ? -errno : 0; }

int clinux_iommufd_open(void) {
    int descriptor = open("/dev/iommu", O_RDWR | O_CLOEXEC);
    return descriptor < 0 ? -errno : descriptor;
}

int clinux_iommufd_make_space(int iommufd, uint32_t *space) {
    struct space_request request = {.size = sizeof request};
    int result = outcome(ioctl(iommufd, MAKE_SPACE, &request));
    if (result == 0) *space = request.space;
    return result;
}

int clinux_iommufd_identify(int iommufd, uint32_t space, struct clinux_iommu_info *info) {
    // The kernel's ranges have the layout of ours: first and last.
    memset(info, 0, sizeof *info);
    struct ranges_request request = {
        .size = sizeof request,
        .space = space,
        .count = CLINUX_IOMMU_RANGE_LIMIT,
        .ranges = (uintptr_t)info->ranges,
    };
    int result = outcome(ioctl(iommufd, RANGES, &request));
    // More ranges than there is room for: the first ones will do.
    if (result == -EMSGSIZE) result = 0;
    if (result < 0) return result;
    info->range_count = request.count < CLINUX_IOMMU_RANGE_LIMIT ? request.count : CLINUX_IOMMU_RANGE_LIMIT;
    info->page_sizes = request.alignment;
    return 0;
}

int clinux_iommufd_map(int iommufd, uint32_t space, const void *memory, uint64_t address, uint64_t byte_count) {
    struct map_request request = {
        .size = sizeof request,
        .flags = AT_GIVEN_ADDRESS | WRITEABLE | READABLE,
        .space = space,
        .memory = (uintptr_t)memory,
        .byte_count = byte_count,
        .address = address,
    };
    return outcome(ioctl(iommufd, MAP, &request));
}

int clinux_iommufd_unmap(int iommufd, uint32_t space, uint64_t address, uint64_t byte_count) {
    struct unmap_request request = {
        .size = sizeof request, .space = space, .address = address, .byte_count = byte_count};
    int result = outcome(ioctl(iommufd, UNMAP, &request));
    if (result < 0) return result;
    // It answers how much it has unmapped.
    return request.byte_count == byte_count ? 0 : -ENOENT;
}

int clinux_iommufd_bind(int iommufd, int device) {
    struct bind_request request = {.size = sizeof request, .iommufd = iommufd};
    return outcome(ioctl(device, BIND, &request));
}

int clinux_iommufd_attach(uint32_t space, int device) {
    struct attach_request request = {.size = sizeof request, .space = space};
    return outcome(ioctl(device, ATTACH, &request));
}
