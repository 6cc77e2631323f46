// The one C module of this package. Every symbol is prefixed clinux_. liburing and libnuma are included by the .c files
// only: a target that saw liburing's headers beside SystemPackage's copy of the kernel's would not compile.
#ifndef CLINUX_H
#define CLINUX_H

// Must come before any system header: it reaches the importer, which a -D flag for the C compiler does not.
#ifndef _GNU_SOURCE
#define _GNU_SOURCE 1
#endif

#include "clinux_thread.h"
#include "clinux_clock.h"
#include "clinux_event.h"
#include "clinux_memory.h"
#include "clinux_system.h"
#include "clinux_uring.h"
#include "clinux_nvme.h"
#include "clinux_file.h"
#include "clinux_transfer.h"
#include "clinux_crc.h"
#include "clinux_mmio.h"
#include "clinux_vfio.h"
#include "clinux_iommufd.h"

#endif
