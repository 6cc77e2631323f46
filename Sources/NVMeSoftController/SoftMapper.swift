import NVMeDriver
import Reactors

/// The memory that a soft controller may reach, and the addresses it knows it by. What is not mapped it cannot touch:
/// it finds out as a device behind an IOMMU does.
final class SoftMapper: DMAMapper {
    private struct Mapping {
        let start: UInt64
        let memory: IOMemory
        var end: UInt64 { start + UInt64(memory.byteCount) }

        /// nil: it does not all lie there.
        func part(at address: UInt64, byteCount: Int) -> IOMemory? {
            let (end, overflows) = address.addingReportingOverflow(UInt64(byteCount))
            if overflows || end > self.end { return nil }
            return memory.slice(from: Int(address - start), count: byteCount)
        }
    }

    private struct State {
        /// Of the host's memory, in rising order.
        var mappings: [Mapping] = []
        /// The controller's own memory.
        var own: Mapping?
    }

    private let state = ThreadLock(State())

    func install(_ memory: IOMemory, at start: IOVA) throws(NVMeError) {
        state.withLock { state in
            let index = state.mappings.firstIndex { $0.start > start.rawValue } ?? state.mappings.count
            state.mappings.insert(Mapping(start: start.rawValue, memory: memory), at: index)
        }
    }

    func uninstall(byteCount: Int, at start: IOVA) {
        state.withLock { state in state.mappings.removeAll { $0.start == start.rawValue } }
    }

    /// Lays the controller's own memory over the host's.
    func layOwn(_ memory: IOMemory, at start: IOVA) {
        state.withLock { $0.own = Mapping(start: start.rawValue, memory: memory) }
    }

    func takeOwnAway() { state.withLock { $0.own = nil } }

    /// The memory that lies at `address`; nil when it is not all within one mapping.
    func memory(at address: UInt64, byteCount: Int) -> IOMemory? {
        state.withLock { state -> IOMemory? in
            if let own = state.own, own.start <= address, address < own.end {
                return own.part(at: address, byteCount: byteCount)
            }
            let mappings = state.mappings
            // The last mapping that begins at or before it.
            var low = 0, high = mappings.count
            while low < high {
                let middle = (low + high) / 2
                if mappings[middle].start <= address { low = middle + 1 } else { high = middle }
            }
            return low > 0 ? mappings[low - 1].part(at: address, byteCount: byteCount) : nil
        }
    }
}
