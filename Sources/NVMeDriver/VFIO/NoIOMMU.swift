import Reactors
import SystemPackage

/// The stand-in that VFIO makes where no IOMMU looks after a device: the device takes physical addresses, and reaches
/// all memory of the machine, whatever it is given here (kernel: CONFIG_VFIO_NOIOMMU, `enable_unsafe_noiommu_mode`).
struct NoIOMMU: DeviceIOMMU {
    let name = "no IOMMU"
    let isReal = false
    private let files: GroupInContainer

    init(_ number: Int, _ failure: VFIOFailure) throws(NVMeError) {
        files = try GroupInContainer("/dev/vfio/noiommu-\(number)", failure)
        do {
            try VFIOCalls.join(files.group, files.container)
            try VFIOCalls.setNoIOMMU(files.container)
        } catch {
            abandon()
            throw failure.system("cannot use the device without an IOMMU", error)
        }
    }

    func place(_ memory: IOMemory) throws(NVMeError) -> IOVA? {
        do {
            return IOVA(try VFIOCalls.physicalAddress(of: memory))
        } catch Errno.improperLink {
            throw NVMeError(
                .outOfMemory, "\(memory.byteCount) bytes are not in one piece of physical memory",
                advice: "reserve 2 MiB pages when the machine boots (hugepages= on the kernel's command line), or use "
                    + "fewer queue entries and smaller buffers", cause: .improperLink)
        } catch {
            throw NVMeError(
                error == .notPermitted ? .notPermitted : .system, "cannot tell where memory lies physically",
                advice: "run as root: without an IOMMU nobody else may", cause: error)
        }
    }

    func identify() throws(Errno) -> (pageSizes: UInt64, ranges: [ClosedRange<UInt64>]) { (0, []) }

    func map(_ memory: IOMemory, at start: IOVA) throws(Errno) {}

    func unmap(byteCount: Int, at start: IOVA) throws(Errno) {}

    func openDevice(_ function: PCIFunction, _ failure: VFIOFailure) throws(NVMeError) -> FileDescriptor {
        try files.openDevice(function, failure)
    }

    func abandon() { files.abandon() }
}
