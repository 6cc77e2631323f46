#include "include/clinux_vfio.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/vfio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <unistd.h>

static int outcome(int result) { return result < 0 ? -errno : result; }

// MARK: Containers and groups

int clinux_vfio_open_container(void) { return outcome(open("/dev/vfio/vfio", O_RDWR | O_CLOEXEC)); }

bool clinux_vfio_has_iommu(int container) {
    return ioctl(container, VFIO_GET_API_VERSION) == VFIO_API_VERSION &&
           ioctl(container, VFIO_CHECK_EXTENSION, VFIO_TYPE1v2_IOMMU) == 1;
}

int clinux_vfio_group_is_viable(int group) {
    struct vfio_group_status status = {.argsz = sizeof status};
    if (ioctl(group, VFIO_GROUP_GET_STATUS, &status) != 0) return -errno;
    return (status.flags & VFIO_GROUP_FLAGS_VIABLE) != 0;
}

int clinux_vfio_join(int group, int container) { return outcome(ioctl(group, VFIO_GROUP_SET_CONTAINER, &container)); }

int clinux_vfio_set_iommu(int container) { return outcome(ioctl(container, VFIO_SET_IOMMU, VFIO_TYPE1v2_IOMMU)); }

int clinux_vfio_set_no_iommu(int container) { return outcome(ioctl(container, VFIO_SET_IOMMU, VFIO_NOIOMMU_IOMMU)); }

int clinux_physical_address(const void *base, uint64_t byte_count, uint64_t *address) {
    int map = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
    if (map < 0) return -errno;
    const uint64_t page = (uint64_t)sysconf(_SC_PAGESIZE);
    int result = 0;
    for (uint64_t offset = 0; result == 0 && offset < byte_count; offset += page) {
        // What nobody has touched yet is nowhere.
        (void)*((const volatile char *)base + offset);
        uint64_t entry = 0, number = ((uintptr_t)base + offset) / page;
        if (pread(map, &entry, sizeof entry, (off_t)(number * sizeof entry)) != sizeof entry) {
            result = -EIO;
            break;
        }
        // Bit 63: it is in memory. Bits 54 to 0: its number, 0 for who may not see it.
        const uint64_t found = (entry & ((UINT64_C(1) << 55) - 1)) * page;
        if (entry >> 63 == 0) result = -EFAULT;
        else if (found == 0) result = -EPERM;
        else if (offset == 0) *address = found;
        else if (found != *address + offset) result = -EXDEV;
    }
    close(map);
    return result;
}

// MARK: The IOMMU

static void copy_ranges(const struct vfio_iommu_type1_info *answer, size_t size, struct clinux_iommu_info *info) {
    size_t offset = answer->cap_offset;
    // The offsets come from the kernel; each still has to lie inside of its answer.
    while (offset != 0 && offset + sizeof(struct vfio_info_cap_header) <= size) {
        const struct vfio_info_cap_header *header = (const void *)((const char *)answer + offset);
        if (header->id == VFIO_IOMMU_TYPE1_INFO_CAP_IOVA_RANGE) {
            const struct vfio_iommu_type1_info_cap_iova_range *list = (const void *)header;
            for (uint32_t i = 0; i < list->nr_iovas && info->range_count < CLINUX_IOMMU_RANGE_LIMIT; i++) {
                if (offset + sizeof *list + (i + 1) * sizeof list->iova_ranges[0] > size) return;
                struct clinux_iommu_range *range = &info->ranges[info->range_count++];
                range->first = list->iova_ranges[i].start;
                range->last = list->iova_ranges[i].end;
            }
        }
        if (header->next <= offset) return;
        offset = header->next;
    }
}

int clinux_vfio_identify_iommu(int container, struct clinux_iommu_info *info) {
    memset(info, 0, sizeof *info);
    struct vfio_iommu_type1_info first = {.argsz = sizeof first};
    if (ioctl(container, VFIO_IOMMU_GET_INFO, &first) != 0) return -errno;
    // How much room all of it needs is in the first answer.
    size_t size = first.argsz > sizeof first ? first.argsz : sizeof first;
    struct vfio_iommu_type1_info *answer = calloc(1, size);
    if (answer == NULL) return -ENOMEM;
    answer->argsz = (uint32_t)size;
    int result = outcome(ioctl(container, VFIO_IOMMU_GET_INFO, answer));
    if (result == 0) {
        info->page_sizes = answer->flags & VFIO_IOMMU_INFO_PGSIZES ? answer->iova_pgsizes : 4096;
        if (answer->flags & VFIO_IOMMU_INFO_CAPS) copy_ranges(answer, size, info);
    }
    free(answer);
    return result;
}

int clinux_vfio_map(int container, const void *memory, uint64_t address, uint64_t byte_count) {
    struct vfio_iommu_type1_dma_map request = {
        .argsz = sizeof request,
        .flags = VFIO_DMA_MAP_FLAG_READ | VFIO_DMA_MAP_FLAG_WRITE,
        .vaddr = (uintptr_t)memory,
        .iova = address,
        .size = byte_count,
    };
    return outcome(ioctl(container, VFIO_IOMMU_MAP_DMA, &request));
}

int clinux_vfio_unmap(int container, uint64_t address, uint64_t byte_count) {
    struct vfio_iommu_type1_dma_unmap request = {.argsz = sizeof request, .iova = address, .size = byte_count};
    if (ioctl(container, VFIO_IOMMU_UNMAP_DMA, &request) != 0) return -errno;
    // It answers how much it has unmapped.
    return request.size == byte_count ? 0 : -ENOENT;
}

// MARK: Devices

int clinux_vfio_open_device(int group, const char *name) {
    return outcome(ioctl(group, VFIO_GROUP_GET_DEVICE_FD, name));
}

int clinux_vfio_can_reset(int device) {
    struct vfio_device_info info = {.argsz = sizeof info};
    if (ioctl(device, VFIO_DEVICE_GET_INFO, &info) != 0) return -errno;
    return (info.flags & VFIO_DEVICE_FLAGS_RESET) != 0;
}

int clinux_vfio_reset(int device) { return outcome(ioctl(device, VFIO_DEVICE_RESET)); }

static int region_info(int device, uint32_t index, struct vfio_region_info *info) {
    *info = (struct vfio_region_info){.argsz = sizeof *info, .index = index};
    return outcome(ioctl(device, VFIO_DEVICE_GET_REGION_INFO, info));
}

int clinux_vfio_region(int device, uint32_t number, struct clinux_vfio_region *region) {
    struct vfio_region_info info;
    int result = region_info(device, VFIO_PCI_BAR0_REGION_INDEX + number, &info);
    if (result < 0) return result;
    uint32_t needed = VFIO_REGION_INFO_FLAG_READ | VFIO_REGION_INFO_FLAG_WRITE | VFIO_REGION_INFO_FLAG_MMAP;
    region->byte_count = info.size;
    region->offset = info.offset;
    region->can_map = info.size > 0 && (info.flags & needed) == needed;
    return 0;
}

void *clinux_vfio_map_region(int device, const struct clinux_vfio_region *region, int *error) {
    void *base = mmap(NULL, region->byte_count, PROT_READ | PROT_WRITE, MAP_SHARED, device, (off_t)region->offset);
    if (base != MAP_FAILED) return base;
    *error = -errno;
    return NULL;
}

int clinux_vfio_unmap_region(void *base, uint64_t byte_count) { return outcome(munmap(base, byte_count)); }

int clinux_vfio_read_configuration(int device, uint32_t offset, void *bytes, uint32_t count) {
    struct vfio_region_info info;
    int result = region_info(device, VFIO_PCI_CONFIG_REGION_INDEX, &info);
    if (result < 0) return result;
    ssize_t done = pread(device, bytes, count, (off_t)(info.offset + offset));
    return done == (ssize_t)count ? 0 : done < 0 ? -errno : -EIO;
}

int clinux_vfio_write_configuration(int device, uint32_t offset, const void *bytes, uint32_t count) {
    struct vfio_region_info info;
    int result = region_info(device, VFIO_PCI_CONFIG_REGION_INDEX, &info);
    if (result < 0) return result;
    ssize_t done = pwrite(device, bytes, count, (off_t)(info.offset + offset));
    return done == (ssize_t)count ? 0 : done < 0 ? -errno : -EIO;
}

// MARK: Interrupts

int clinux_vfio_vector_count(int device) {
    struct vfio_irq_info info = {.argsz = sizeof info, .index = VFIO_PCI_MSIX_IRQ_INDEX};
    if (ioctl(device, VFIO_DEVICE_GET_IRQ_INFO, &info) != 0) return -errno;
    return info.flags & VFIO_IRQ_INFO_EVENTFD ? (int)info.count : 0;
}

static int set_events(int device, uint32_t index, const int *events, uint32_t count) {
    size_t size = sizeof(struct vfio_irq_set) + count * sizeof(int);
    struct vfio_irq_set *request = calloc(1, size);
    if (request == NULL) return -ENOMEM;
    request->argsz = (uint32_t)size;
    request->flags = VFIO_IRQ_SET_ACTION_TRIGGER | (count > 0 ? VFIO_IRQ_SET_DATA_EVENTFD : VFIO_IRQ_SET_DATA_NONE);
    request->index = index;
    request->count = count;
    if (count > 0) memcpy(request->data, events, count * sizeof(int));
    int result = outcome(ioctl(device, VFIO_DEVICE_SET_IRQS, request));
    free(request);
    return result;
}

int clinux_vfio_set_vectors(int device, const int *events, uint32_t count) {
    return set_events(device, VFIO_PCI_MSIX_IRQ_INDEX, events, count);
}

int clinux_vfio_set_request_event(int device, int event) {
    return set_events(device, VFIO_PCI_REQ_IRQ_INDEX, &event, 1);
}

uint64_t clinux_event_take(int event) {
    uint64_t count = 0;
    ssize_t done;
    do done = read(event, &count, sizeof count); while (done < 0 && errno == EINTR);
    return done == sizeof count ? count : 0;
}

int64_t clinux_locked_memory_limit(void) {
    struct rlimit limit;
    if (getrlimit(RLIMIT_MEMLOCK, &limit) != 0) return -errno;
    return limit.rlim_cur > INT64_MAX ? INT64_MAX : (int64_t)limit.rlim_cur;
}
