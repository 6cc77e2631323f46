import Reactors
import SystemPackage

/// The IOMMU of a group of devices, as one of the kernel's two interfaces has it: what the devices reach, and the way
/// to open them.
protocol DeviceIOMMU: Sendable {
    /// What the interface is called.
    var name: String { get }
    /// There is one: devices reach what is mapped for them, and nothing else.
    var isReal: Bool { get }
    /// Where the devices find memory; nil: the driver chooses.
    func place(_ memory: IOMemory) throws(NVMeError) -> IOVA?
    /// Page sizes as a mask, and the addresses that can be used, if the kernel says. After a device was opened.
    func identify() throws(Errno) -> (pageSizes: UInt64, ranges: [ClosedRange<UInt64>])
    /// Lets the devices reach whole pages of memory, which stays where it is until it is unmapped.
    func map(_ memory: IOMemory, at start: IOVA) throws(Errno)
    func unmap(byteCount: Int, at start: IOVA) throws(Errno)
    /// Opens a function of the group.
    func openDevice(_ function: PCIFunction, _ failure: VFIOFailure) throws(NVMeError) -> FileDescriptor
    /// Gives it back, with all that is mapped. The last call.
    func abandon()
}

extension DeviceIOMMU {
    var isReal: Bool { true }
    func place(_ memory: IOMemory) throws(NVMeError) -> IOVA? { nil }
}

/// A group in a container: what every kernel with VFIO has (linux/vfio.h).
struct GroupInContainer {
    let container: FileDescriptor
    let group: FileDescriptor
    private let path: String

    /// `path`: of the group. `check`: of the container, before the group is opened.
    init(
        _ path: String, _ failure: VFIOFailure, check: (FileDescriptor) throws(NVMeError) -> Void = { _ in }
    ) throws(NVMeError) {
        self.path = path
        let container: FileDescriptor
        do {
            container = try VFIOCalls.openContainer()
        } catch {
            throw failure.opening("/dev/vfio/vfio", error)
        }
        do throws(NVMeError) {
            try check(container)
            do {
                group = try VFIOCalls.open(path)
            } catch {
                throw failure.opening(path, error)
            }
        } catch {
            container.abandon()
            throw error
        }
        self.container = container
    }

    func openDevice(_ function: PCIFunction, _ failure: VFIOFailure) throws(NVMeError) -> FileDescriptor {
        do {
            return try VFIOCalls.openDevice(group, "\(function.address)")
        } catch {
            throw failure.opening(path, error)
        }
    }

    func abandon() {
        group.abandon()
        container.abandon()
    }
}

/// A group and a container with an IOMMU of type 1.
struct TypeOneIOMMU: DeviceIOMMU {
    let name = "type 1"
    private let files: GroupInContainer

    init(_ number: Int, of function: PCIFunction, _ failure: VFIOFailure) throws(NVMeError) {
        files = try GroupInContainer("/dev/vfio/\(number)", failure) { container throws(NVMeError) in
            if !VFIOCalls.hasIOMMU(container) { throw VFIOFailure.noIOMMU(function) }
        }
        do throws(NVMeError) {
            try join(failure)
        } catch {
            abandon()
            throw error
        }
    }

    private func join(_ failure: VFIOFailure) throws(NVMeError) {
        do {
            if try !VFIOCalls.isViable(files.group) { throw failure.notViable() }
            try VFIOCalls.join(files.group, files.container)
            do {
                try VFIOCalls.setIOMMU(files.container)
            } catch Errno.notPermitted {
                throw failure.unsafeInterrupts(module: "vfio_iommu_type1")
            }
        } catch let error as NVMeError {
            throw error
        } catch {
            throw failure.system("cannot set the IOMMU group up", error as? Errno)
        }
    }

    func identify() throws(Errno) -> (pageSizes: UInt64, ranges: [ClosedRange<UInt64>]) {
        try VFIOCalls.identifyIOMMU(files.container)
    }

    func map(_ memory: IOMemory, at start: IOVA) throws(Errno) { try VFIOCalls.map(memory, at: start, files.container) }

    func unmap(byteCount: Int, at start: IOVA) throws(Errno) {
        try VFIOCalls.unmap(byteCount: byteCount, at: start, files.container)
    }

    func openDevice(_ function: PCIFunction, _ failure: VFIOFailure) throws(NVMeError) -> FileDescriptor {
        try files.openDevice(function, failure)
    }

    func abandon() { files.abandon() }
}

/// An address space of iommufd, and devices that are files of their own: kernels from 6.6 on that are configured for it
/// (CONFIG_IOMMUFD, CONFIG_VFIO_DEVICE_CDEV).
struct IOMMUFD: DeviceIOMMU {
    let name = "iommufd"
    private let descriptor: FileDescriptor
    private let space: UInt32
    private let tree: SystemTree

    /// nil: the kernel does not have it, or does not let this user have it or the device.
    init?(for function: PCIFunction, in tree: SystemTree) {
        guard let path = Self.path(of: function, in: tree), let descriptor = try? VFIOCalls.openIOMMUFD() else {
            return nil
        }
        do {
            // Opening alone takes nothing from anybody.
            try VFIOCalls.open(path).abandon()
            space = try VFIOCalls.makeSpace(descriptor)
        } catch {
            descriptor.abandon()
            return nil
        }
        self.descriptor = descriptor
        self.tree = tree
    }

    /// `/dev/vfio/devices/vfio0`; nil: there is none.
    static func path(of function: PCIFunction, in tree: SystemTree) -> String? {
        tree.names("\(PCIFunction.folder(function.address))/vfio-dev").first.map { "/dev/vfio/devices/\($0)" }
    }

    func identify() throws(Errno) -> (pageSizes: UInt64, ranges: [ClosedRange<UInt64>]) {
        try VFIOCalls.identify(space, of: descriptor)
    }

    func map(_ memory: IOMemory, at start: IOVA) throws(Errno) {
        try VFIOCalls.map(memory, at: start, in: space, of: descriptor)
    }

    func unmap(byteCount: Int, at start: IOVA) throws(Errno) {
        try VFIOCalls.unmap(byteCount: byteCount, at: start, in: space, of: descriptor)
    }

    func openDevice(_ function: PCIFunction, _ failure: VFIOFailure) throws(NVMeError) -> FileDescriptor {
        guard let path = Self.path(of: function, in: tree) else { throw failure.notHandedOut() }
        let device: FileDescriptor
        do {
            device = try VFIOCalls.open(path)
        } catch {
            throw failure.opening(path, error)
        }
        do throws(Errno) {
            try VFIOCalls.bind(device, to: descriptor)
        } catch {
            device.abandon()
            // The kernel says busy for both: somebody has the device, or a driver has another of its group.
            if error == .resourceBusy, function.neighbors.contains(where: \.blocksGroup) { throw failure.notViable() }
            let group = "/dev/vfio/\(function.group ?? -1)"
            throw failure.opening(failure.holder(of: group) == nil ? path : group, error)
        }
        do throws(Errno) {
            try VFIOCalls.attach(device, to: space)
        } catch {
            device.abandon()
            if error == .notPermitted { throw failure.unsafeInterrupts(module: "iommufd") }
            throw failure.system("cannot put the device behind the IOMMU", error)
        }
        return device
    }

    func abandon() { descriptor.abandon() }
}
