import NVMeDriver
import Reactors

/// The memory that a soft controller may reach, and the addresses it knows it by. What is not mapped it cannot touch:
/// it finds out as a device behind an IOMMU does.
final class SoftMapper: DMAMapper {
    private struct Mapping {
        let start: UInt64
        let memory: IOMemory
        var end: UInt64 { start + UInt64(memory.byteCount) }
    }

    /// In rising order.
    private let mappings = ThreadLock<[Mapping]>([])

    func install(_ memory: IOMemory, at start: IOVA) throws(NVMeError) {
        mappings.withLock { mappings in
            let index = mappings.firstIndex { $0.start > start.rawValue } ?? mappings.count
            mappings.insert(Mapping(start: start.rawValue, memory: memory), at: index)
        }
    }

    func uninstall(byteCount: Int, at start: IOVA) {
        mappings.withLock { mappings in mappings.removeAll { $0.start == start.rawValue } }
    }

    /// The memory that lies at `address`; nil when it is not all within one mapping.
    func memory(at address: UInt64, byteCount: Int) -> IOMemory? {
        mappings.withLock { mappings -> IOMemory? in
            // The last mapping that begins at or before it.
            var low = 0, high = mappings.count
            while low < high {
                let middle = (low + high) / 2
                if mappings[middle].start <= address { low = middle + 1 } else { high = middle }
            }
            guard low > 0 else { return nil }
            let mapping = mappings[low - 1]
            let (end, overflows) = address.addingReportingOverflow(UInt64(byteCount))
            if overflows || end > mapping.end { return nil }
            return mapping.memory.slice(from: Int(address - mapping.start), count: byteCount)
        }
    }
}
