import Logging
import Reactors
import SystemPackage

/// An IOMMU group that this process has: its descriptor, and the IOMMU behind it.
///
/// The kernel hands a group to one opener at a time, so that controllers of one group share it here. It is given back
/// when the last of them has gone.
final class VFIOGroup: Sendable {
    let number: Int
    /// What the devices behind it may use as addresses.
    let usable: [ClosedRange<UInt64>]
    /// The least page of the IOMMU, in bytes.
    let pageByteCount: Int
    private let container: FileDescriptor
    private let group: FileDescriptor
    /// The devices of it that are open.
    private let open = ThreadLock<Set<String>>([])

    private struct Weak: Sendable {
        weak let group: VFIOGroup?
    }

    private static let all = ThreadLock<[Int: Weak]>([:])

    /// The group of `function`, which is with VFIO.
    static func of(_ function: PCIFunction, in tree: SystemTree) throws(NVMeError) -> VFIOGroup {
        guard let number = function.group, !function.isGroupWithoutIOMMU else { throw VFIOFailure.noIOMMU(function) }
        var refusal: NVMeError?
        let group: VFIOGroup? = all.withLock { all in
            if let group = all[number]?.group { return group }
            do throws(NVMeError) {
                let group = try VFIOGroup(number, of: function, in: tree)
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

    private init(_ number: Int, of function: PCIFunction, in tree: SystemTree) throws(NVMeError) {
        let failure = VFIOFailure(function, in: tree)
        let container: FileDescriptor
        do {
            container = try VFIOCalls.openContainer()
        } catch {
            throw failure.opening("/dev/vfio/vfio", error)
        }
        do throws(NVMeError) {
            if !VFIOCalls.hasIOMMU(container) { throw VFIOFailure.noIOMMU(function) }
            let path = "/dev/vfio/\(number)"
            do {
                group = try VFIOCalls.openGroup(path)
            } catch {
                throw failure.opening(path, error)
            }
        } catch {
            container.abandon()
            throw error
        }
        do throws(NVMeError) {
            (usable, pageByteCount) = try Self.join(group, container, failure)
        } catch {
            group.abandon()
            container.abandon()
            throw error
        }
        self.container = container
        self.number = number
    }

    private static func join(
        _ group: FileDescriptor, _ container: FileDescriptor, _ failure: VFIOFailure
    ) throws(NVMeError) -> ([ClosedRange<UInt64>], Int) {
        do {
            if try !VFIOCalls.isViable(group) { throw failure.notViable() }
            try VFIOCalls.join(group, container)
            do {
                try VFIOCalls.setIOMMU(container)
            } catch Errno.notPermitted {
                throw failure.unsafeInterrupts()
            }
            let (sizes, ranges) = try VFIOCalls.identifyIOMMU(container)
            let page = sizes == 0 ? 4096 : Int(1 << UInt64(sizes.trailingZeroBitCount))
            return (ranges.isEmpty ? fallback : ranges, page)
        } catch let error as NVMeError {
            throw error
        } catch {
            throw failure.system("cannot set the IOMMU group up", error as? Errno)
        }
    }

    /// Where the kernel does not say: what the narrowest IOMMU has, without the window of message-signalled interrupts.
    private static let fallback: [ClosedRange<UInt64>] = [0...0xFEDF_FFFF, 0xFEF0_0000...0x7F_FFFF_FFFF]

    deinit {
        Self.all.withLock { if $0[number]?.group == nil { $0[number] = nil } }
        group.abandon()
        container.abandon()
    }

    /// The kernel would hand a device out again and again; here each is open once.
    func openDevice(_ name: String, _ failure: VFIOFailure) throws(NVMeError) -> FileDescriptor {
        if !open.withLock({ $0.insert(name).inserted }) {
            throw NVMeError(
                .inUse, device: name, "this process has attached the controller already", advice: "detach it first")
        }
        do {
            return try VFIOCalls.openDevice(group, name)
        } catch {
            open.withLock { _ = $0.remove(name) }
            throw failure.opening("/dev/vfio/\(number)", error)
        }
    }

    func closeDevice(_ name: String, _ device: FileDescriptor) {
        device.abandon()
        open.withLock { _ = $0.remove(name) }
    }

    /// An equal part of the addresses for each controller of the group, so that they need not agree on any.
    func usable(part: Int, of count: Int) -> [ClosedRange<UInt64>] {
        if count <= 1 { return usable }
        let largest = usable.max { $0.upperBound - $0.lowerBound < $1.upperBound - $1.lowerBound }!
        let size = (largest.upperBound - largest.lowerBound) / UInt64(count)
        let start = largest.lowerBound + UInt64(part) * size
        return [start...start + size - 1]
    }
}

extension VFIOGroup: DMAMapper {
    func install(_ memory: IOMemory, at start: IOVA) throws(NVMeError) {
        do {
            try VFIOCalls.map(memory, at: start, container)
        } catch {
            throw VFIOFailure.mapping(memory.byteCount, error)
        }
    }

    func uninstall(byteCount: Int, at start: IOVA) {
        do {
            try VFIOCalls.unmap(byteCount: byteCount, at: start, container)
        } catch {
            // It goes with the container.
            Logger(label: "swift-bdev.nvme").error(
                "IOMMU group \(number): \(byteCount) bytes at \(start) stay mapped until it is given back: \(error)"
            )
        }
    }
}
