import Logging
import Reactors
import SystemPackage

/// An IOMMU group that this process has: the IOMMU behind it, and those of its devices that are open.
///
/// The kernel hands a group to one process at a time, so that controllers of one group share it here. It is given back
/// when the last of them has gone.
final class VFIOGroup: Sendable {
    let number: Int
    let iommu: any DeviceIOMMU
    /// The devices of it that are open.
    private let open = ThreadLock<Set<PCIAddress>>([])

    private struct Weak: Sendable {
        weak let group: VFIOGroup?
    }

    private static let all = ThreadLock<[Int: Weak]>([:])

    /// The group of `function`, which is with VFIO: by iommufd where the kernel and its permissions allow that, else by
    /// a container. `allowsNoIOMMU`: also one that is a stand-in.
    static func of(
        _ function: PCIFunction, allowsNoIOMMU: Bool, in tree: SystemTree
    ) throws(NVMeError) -> VFIOGroup {
        guard let number = function.group, allowsNoIOMMU || !function.isGroupWithoutIOMMU else {
            throw VFIOFailure.noIOMMU(function)
        }
        var refusal: NVMeError?
        let group: VFIOGroup? = all.withLock { all in
            if let group = all[number]?.group { return group }
            do throws(NVMeError) {
                let group = VFIOGroup(number, try iommu(of: function, number, in: tree))
                all[number] = Weak(group: group)
                return group
            } catch {
                refusal = error
                return nil
            }
        }
        if let refusal { throw refusal }
        return group!
    }

    private static func iommu(
        of function: PCIFunction, _ number: Int, in tree: SystemTree
    ) throws(NVMeError) -> any DeviceIOMMU {
        let failure = VFIOFailure(function, in: tree)
        if function.isGroupWithoutIOMMU { return try NoIOMMU(number, failure) }
        if let iommu = IOMMUFD(for: function, in: tree) { return iommu }
        return try TypeOneIOMMU(number, of: function, failure)
    }

    private init(_ number: Int, _ iommu: any DeviceIOMMU) {
        self.number = number
        self.iommu = iommu
    }

    deinit {
        Self.all.withLock { if $0[number]?.group == nil { $0[number] = nil } }
        iommu.abandon()
    }

    // MARK: Devices

    /// The kernel would hand a device out again and again; here each is open once.
    func openDevice(_ function: PCIFunction, _ failure: VFIOFailure) throws(NVMeError) -> FileDescriptor {
        if !open.withLock({ $0.insert(function.address).inserted }) {
            throw NVMeError(
                .inUse, device: "\(function.address)", "this process has attached the controller already",
                advice: "detach it first")
        }
        do {
            return try iommu.openDevice(function, failure)
        } catch {
            open.withLock { _ = $0.remove(function.address) }
            throw error
        }
    }

    func closeDevice(_ address: PCIAddress, _ device: FileDescriptor) {
        device.abandon()
        open.withLock { _ = $0.remove(address) }
    }

    // MARK: Addresses

    /// What a device may use as addresses, and the least page of the IOMMU, in bytes. After it was opened.
    ///
    /// Each controller of the group gets an equal part, so that they need not agree on any.
    func addresses(
        part: Int, of count: Int
    ) throws(Errno) -> (usable: [ClosedRange<UInt64>], pageByteCount: Int) {
        let (sizes, ranges) = try iommu.identify()
        let page = sizes == 0 ? 4096 : Int(1 << UInt64(sizes.trailingZeroBitCount))
        let usable = ranges.isEmpty ? Self.fallback : ranges
        if count <= 1 { return (usable, page) }
        let largest = usable.max { $0.upperBound - $0.lowerBound < $1.upperBound - $1.lowerBound }!
        let size = (largest.upperBound - largest.lowerBound) / UInt64(count)
        let start = largest.lowerBound + UInt64(part) * size
        return ([start...start + size - 1], page)
    }

    /// Where the kernel does not say: what the narrowest IOMMU has, without the window of message-signalled interrupts.
    private static let fallback: [ClosedRange<UInt64>] = [0...0xFEDF_FFFF, 0xFEF0_0000...0x7F_FFFF_FFFF]
}

extension VFIOGroup: DMAMapper {
    func place(_ memory: IOMemory) throws(NVMeError) -> IOVA {
        guard let start = try iommu.place(memory) else { preconditionFailure("the driver chooses the addresses") }
        return start
    }

    func install(_ memory: IOMemory, at start: IOVA) throws(NVMeError) {
        do {
            try iommu.map(memory, at: start)
        } catch {
            throw VFIOFailure.mapping(memory.byteCount, error)
        }
    }

    func uninstall(byteCount: Int, at start: IOVA) {
        do {
            try iommu.unmap(byteCount: byteCount, at: start)
        } catch {
            // It goes with the group.
            Logger(label: "swift-bdev.nvme").error(
                "IOMMU group \(number): \(byteCount) bytes at \(start) stay mapped until it is given back: \(error)"
            )
        }
    }
}
