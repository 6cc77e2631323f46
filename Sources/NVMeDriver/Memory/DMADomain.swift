package import Reactors

/// How memory is put within reach of a device, and taken from it again.
package protocol DMAMapper: AnyObject, Sendable {
    /// Where the device finds `memory`, where the mapper does not choose that. One call at a time.
    func place(_ memory: IOMemory) throws(NVMeError) -> IOVA
    /// Lets the device reach `memory` at `start`. One call at a time.
    func install(_ memory: IOMemory, at start: IOVA) throws(NVMeError)
    /// Takes that back. One call at a time; what cannot be taken back stays mapped, and is reported by the mapper.
    func uninstall(byteCount: Int, at start: IOVA)
}

extension DMAMapper {
    /// At this process's own addresses.
    package func place(_ memory: IOMemory) throws(NVMeError) -> IOVA { IOVA(memory.address) }
}

/// What memory a device may reach, and at which addresses: one for each controller.
///
/// Memory is mapped by regions, the first time that a command carries some of it, and stays mapped until the region
/// goes or the domain is closed. Any thread may call it; it takes a lock. The data path asks a ``TranslationTable``.
package final class DMADomain: Sendable {
    private struct State {
        /// nil: the addresses are not for this process to choose.
        var space: IOVASpace?
        var mappings: [UInt32: Mapping] = [:]
        var isClosed = false
    }

    private struct Mapping {
        let start: IOVA
        let byteCount: Int
        /// It is the device's own memory: there is nothing to take back.
        var isOwn = false
    }

    /// What memory has to be made of that the device is to reach.
    let pages: MemoryRegion.Pages
    private let mapper: any DMAMapper
    private let state: ThreadLock<State>

    /// `usable`: the addresses that the IOMMU lets through, last one included. `granule`: the least unit of a mapping,
    /// in bytes.
    package init(_ mapper: any DMAMapper, usable: [ClosedRange<UInt64>], granule: Int) {
        pages = .normal
        self.mapper = mapper
        state = ThreadLock(State(space: IOVASpace(usable: usable, granule: granule)))
    }

    /// Where the mapper says. Memory is of such `pages`.
    package init(placedBy mapper: any DMAMapper, pages: MemoryRegion.Pages = .normal) {
        self.pages = pages
        self.mapper = mapper
        state = ThreadLock(State(space: nil))
    }

    deinit { close() }

    // MARK: Mapping

    /// Where the device finds the first byte of `region`. Maps it, if nobody has yet.
    ///
    /// Cost of the first call for a region: the kernel pins its pages, milliseconds for some MiB.
    /// - Throws: `closed`; `outOfMemory` when the kernel or the device's addresses allow no more.
    package func map(_ region: MemoryRegion) throws(NVMeError) -> IOVA {
        var refusal: NVMeError?
        let arena = region.arena
        let start: IOVA? = state.withLock { state in
            if let mapping = state.mappings[arena] { return mapping.start }
            if state.isClosed { return nil }
            let memory = region.memory(from: 0, count: region.byteCount)
            let start: IOVA
            do throws(NVMeError) {
                if state.space == nil {
                    start = try mapper.place(memory)
                } else if let free = state.space?.allocate(byteCount: region.byteCount) {
                    start = free
                } else {
                    return nil
                }
            } catch {
                refusal = error
                return nil
            }
            do throws(NVMeError) {
                try mapper.install(memory, at: start)
            } catch {
                state.space?.release(start, byteCount: region.byteCount)
                refusal = error
                return nil
            }
            state.mappings[arena] = Mapping(start: start, byteCount: region.byteCount)
            region.pin(for: self) { [weak self] in self?.unmap(arena) }
            return start
        }
        if let start { return start }
        if let refusal { throw refusal }
        if state.withLock({ $0.isClosed }) {
            throw NVMeError(.closed, "cannot map memory: the controller has been detached")
        }
        throw NVMeError(
            .outOfMemory, "no range of \(region.byteCount) device addresses is free",
            advice: "detach controllers, or use less memory for I/O")
    }

    /// Makes known that the device itself shows `region` at `start`, an address that was reserved.
    func adopt(_ region: MemoryRegion, at start: IOVA) {
        let arena = region.arena
        state.withLock {
            $0.mappings[arena] = Mapping(start: start, byteCount: region.byteCount, isOwn: true)
        }
        region.pin(for: self) { [weak self] in self?.unmap(arena) }
    }

    /// Device addresses that are the domain's no more; nil: none are free.
    func reserve(byteCount: Int) -> IOVA? { state.withLock { $0.space?.allocate(byteCount: byteCount) } }

    private func unmap(_ arena: UInt32) {
        state.withLock { state in
            guard let mapping = state.mappings.removeValue(forKey: arena), !mapping.isOwn else { return }
            mapper.uninstall(byteCount: mapping.byteCount, at: mapping.start)
            state.space?.release(mapping.start, byteCount: mapping.byteCount)
        }
    }

    /// Takes everything from the device, for good. The device must have been stopped: what it still reads or writes is
    /// refused by the IOMMU.
    package func close() {
        let mappings = state.withLock { state in
            state.isClosed = true
            for (_, mapping) in state.mappings where !mapping.isOwn {
                mapper.uninstall(byteCount: mapping.byteCount, at: mapping.start)
            }
            defer { state.mappings = [:] }
            return state.mappings
        }
        for (arena, mapping) in mappings {
            guard let region = MemoryRegion.find(arena: arena) else { continue }
            region.unpin(for: self)
            // Other devices may reach what is this one's own.
            if mapping.isOwn { region.release() }
        }
    }

    /// How many regions the device can reach.
    package var mappingCount: Int { state.withLock { $0.mappings.count } }
}

/// What one queue pair knows of the domain: the address of each arena, in one load.
///
/// Arenas are never used twice in a process, so that what is kept of one that is gone harms nobody.
package final class TranslationTable {
    /// By arena: what to add to an address of this process.
    private var offsets: [UInt64] = []
    /// Not known yet. No region lies a byte off from where a device finds it.
    private static let unknown = UInt64.max
    private let domain: DMADomain

    package init(domain: DMADomain) { self.domain = domain }

    /// Where the device finds `memory`; nil when it cannot be made to: memory of no region, or one that cannot be
    /// mapped.
    @inline(__always)
    package func address(of memory: IOMemory) -> IOVA? {
        let arena = Int(memory.arena)
        if arena < offsets.count {
            let offset = offsets[arena]
            if offset != Self.unknown { return IOVA(memory.address &+ offset) }
        }
        return lookUp(memory)
    }

    @inline(never)
    private func lookUp(_ memory: IOMemory) -> IOVA? {
        guard memory.arena != 0, let region = MemoryRegion.find(arena: memory.arena),
            let start = try? domain.map(region)
        else { return nil }
        let offset = start.rawValue &- region.memory(from: 0, count: 0).address
        let arena = Int(memory.arena)
        // A copy is changed: an array that calls change in place is checked for exclusive access at each look-up.
        var known = offsets
        if known.count <= arena { known += Array(repeating: Self.unknown, count: arena + 1 - known.count) }
        known[arena] = offset
        offsets = known
        return IOVA(memory.address &+ offset)
    }
}
