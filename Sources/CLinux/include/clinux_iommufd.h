// iommufd (linux/iommufd.h, which Debian 12's headers do not have yet) and what VFIO has for it: devices that are files
// of their own, without groups. Every function returns 0 or a negative errno unless it says otherwise.
#ifndef CLINUX_IOMMUFD_H
#define CLINUX_IOMMUFD_H

#include <stdint.h>

#include "clinux_vfio.h"

/// A descriptor. /dev/iommu.
int clinux_iommufd_open(void);
/// Makes an address space. IOMMU_IOAS_ALLOC.
int clinux_iommufd_make_space(int iommufd, uint32_t *_Nonnull space);
/// What addresses of the space can be used, after its devices were attached; the page sizes are the least distance that
/// addresses must keep. IOMMU_IOAS_IOVA_RANGES.
int clinux_iommufd_identify(int iommufd, uint32_t space, struct clinux_iommu_info *_Nonnull info);
/// IOMMU_IOAS_MAP, for reading and writing. All in whole pages.
int clinux_iommufd_map(
    int iommufd, uint32_t space, const void *_Nonnull memory, uint64_t address, uint64_t byte_count);
/// IOMMU_IOAS_UNMAP.
int clinux_iommufd_unmap(int iommufd, uint32_t space, uint64_t address, uint64_t byte_count);
/// Makes the device, an open /dev/vfio/devices/vfioN, this process's. VFIO_DEVICE_BIND_IOMMUFD.
int clinux_iommufd_bind(int iommufd, int device);
/// Puts a bound device into the space. VFIO_DEVICE_ATTACH_IOMMUFD_PT.
int clinux_iommufd_attach(uint32_t space, int device);

#endif
