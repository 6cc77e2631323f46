// VFIO (linux/vfio.h): how the kernel hands a PCI function and an IOMMU to a process. Every function returns 0 or a
// negative errno unless it says otherwise.
#ifndef CLINUX_VFIO_H
#define CLINUX_VFIO_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

// MARK: Containers and groups

/// A descriptor. /dev/vfio/vfio.
int clinux_vfio_open_container(void);
/// Whether the container can do IOMMUs of type 1, version 2. VFIO_CHECK_EXTENSION.
bool clinux_vfio_has_iommu(int container);
/// 1: all devices of the group are out of the hands of other drivers; 0: they are not. VFIO_GROUP_GET_STATUS.
int clinux_vfio_group_is_viable(int group);
/// VFIO_GROUP_SET_CONTAINER.
int clinux_vfio_join(int group, int container);
/// VFIO_SET_IOMMU: after the first group has joined.
int clinux_vfio_set_iommu(int container);
/// The same for a group without an IOMMU: devices take physical addresses.
int clinux_vfio_set_no_iommu(int container);
/// Where the physical memory of `base` begins, which must be in one piece of `byte_count` bytes: -EXDEV when it is not.
/// Wants root. proc(5), pagemap.
int clinux_physical_address(const void *_Nonnull base, uint64_t byte_count, uint64_t *_Nonnull address);

// MARK: The IOMMU

enum { CLINUX_IOMMU_RANGE_LIMIT = 16 };

struct clinux_iommu_range {
    /// Both included.
    uint64_t first, last;
};

struct clinux_iommu_info {
    /// Bit n: pages of 2^n bytes.
    uint64_t page_sizes;
    /// What addresses can be used, in no order; 0 ranges: the kernel does not say (before 5.4).
    struct clinux_iommu_range ranges[CLINUX_IOMMU_RANGE_LIMIT];
    uint32_t range_count;
};

/// VFIO_IOMMU_GET_INFO.
int clinux_vfio_identify_iommu(int container, struct clinux_iommu_info *_Nonnull info);
/// VFIO_IOMMU_MAP_DMA, for reading and writing. All in whole pages.
int clinux_vfio_map(int container, const void *_Nonnull memory, uint64_t address, uint64_t byte_count);
/// VFIO_IOMMU_UNMAP_DMA.
int clinux_vfio_unmap(int container, uint64_t address, uint64_t byte_count);
/// Bytes that a process without rights may pin, INT64_MAX: no limit; or a negative errno. RLIMIT_MEMLOCK.
int64_t clinux_locked_memory_limit(void);

// MARK: Devices

/// A descriptor. VFIO_GROUP_GET_DEVICE_FD; `name` as sysfs has it: 0000:3b:00.0.
int clinux_vfio_open_device(int group, const char *_Nonnull name);
/// 1: VFIO_DEVICE_RESET does something; 0: it does not.
int clinux_vfio_can_reset(int device);
/// VFIO_DEVICE_RESET.
int clinux_vfio_reset(int device);

struct clinux_vfio_region {
    uint64_t byte_count, offset;
    bool can_map;
};

/// Of base address register `number`, 0 to 5. VFIO_DEVICE_GET_REGION_INFO.
int clinux_vfio_region(int device, uint32_t number, struct clinux_vfio_region *_Nonnull region);
/// Maps a region. NULL: `*error` is a negative errno.
void *_Nullable clinux_vfio_map_region(
    int device, const struct clinux_vfio_region *_Nonnull region, int *_Nonnull error);
/// Takes the device from under a mapped region that is guarded: it reads as ones from here on.
int clinux_region_detach(void *_Nonnull base, uint64_t byte_count);
int clinux_vfio_unmap_region(void *_Nonnull base, uint64_t byte_count);
/// Bytes of the function's configuration space.
int clinux_vfio_read_configuration(int device, uint32_t offset, void *_Nonnull bytes, uint32_t count);
int clinux_vfio_write_configuration(int device, uint32_t offset, const void *_Nonnull bytes, uint32_t count);

// MARK: Interrupts

/// How many MSI-X vectors the function has, or a negative errno. VFIO_DEVICE_GET_IRQ_INFO.
int clinux_vfio_vector_count(int device);
/// From now on vector i signals events[i], an eventfd. No events: all vectors off. VFIO_DEVICE_SET_IRQS.
int clinux_vfio_set_vectors(int device, const int *_Nullable events, uint32_t count);
/// From now on `event` is signalled when the kernel wants the device back. A kernel that cannot: -ENOTTY or -EINVAL.
int clinux_vfio_set_request_event(int device, int event);
/// The counter of an eventfd, which is 0 afterwards; 0: it was 0.
uint64_t clinux_event_take(int event);

// MARK: Devices that go away

/// Makes accesses to a mapped region safe after its device was pulled out: its pages are exchanged for memory of all
/// ones, as registers that nobody answers for read, at the first access that fails (SIGBUS). Installs a handler, which
/// passes on what is none of its business. Returns a number for the other two, or -ENOSPC: there are too many regions.
int clinux_guard_add(void *_Nonnull base, uint64_t byte_count);
/// Before the region is unmapped.
void clinux_guard_remove(int guard);
/// Whether an access has failed.
bool clinux_guard_is_tripped(int guard);

#endif
