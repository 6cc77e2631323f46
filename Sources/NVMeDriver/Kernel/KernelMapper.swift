import Reactors
import Synchronization

/// The memory that commands may name: the kernel takes the process's own addresses.
final class KernelMapper: DMAMapper {
    struct Mapping: Sendable {
        /// Never used twice.
        let id: UInt64
        let start: UInt64
        let end: UInt64
    }

    private let mappings = ThreadLock<[Mapping]>([])
    private let changes = Atomic<UInt64>(0)

    /// Changes whenever a region comes or goes.
    @inline(__always)
    var generation: UInt64 { changes.load(ordering: .relaxed) }

    func look() -> (mappings: [Mapping], generation: UInt64) { mappings.withLock { ($0, generation) } }

    func install(_ memory: IOMemory, at start: IOVA) throws(NVMeError) {
        mappings.withLock { mappings in
            let id = changes.wrappingAdd(1, ordering: .relaxed).newValue
            mappings.append(
                Mapping(id: id, start: start.rawValue, end: start.rawValue + UInt64(memory.byteCount)))
        }
    }

    func uninstall(byteCount: Int, at start: IOVA) {
        mappings.withLock { mappings in
            changes.wrappingAdd(1, ordering: .relaxed)
            mappings.removeAll { $0.start == start.rawValue }
        }
    }
}
