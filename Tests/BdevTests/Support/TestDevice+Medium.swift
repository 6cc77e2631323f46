import Bdev
import Reactors
import SystemPackage

/// What a test device does to its medium.
extension TestDevice {
    func perform(_ request: borrowing IORequest, _ arrival: Arrival) -> IOStatus {
        let offset = Int(request.byteOffset)
        guard offset + Int(request.byteCount) <= data.count else { return .success }
        switch request.type {
        case .read:
            if !uncorrectable.isDisjoint(with: arrival.blocks) { return .system(.ioError) }
            read(request, offset)
        case .write: replace(arrival.blocks, offset, Self.bytes(request))
        case .writeZeroes, .unmap:
            replace(arrival.blocks, offset, Array(repeating: 0, count: Int(request.byteCount)))
        case .compare: return isEqual(request, offset) ? .success : IOStatus(.miscompare)
        case .compareAndWrite:
            if !isEqual(request, offset) { return IOStatus(.miscompare) }
            replace(arrival.blocks, offset, Self.secondBytes(request))
        case .copy:
            let source = Int(arrival.source) * geometry.blockByteCount
            replace(arrival.blocks, offset, Array(data[source..<source + Int(request.byteCount)]))
        case .writeUncorrectable: uncorrectable.formUnion(arrival.blocks)
        default: break
        }
        return .success
    }

    private func read(_ request: borrowing IORequest, _ start: Int) {
        var offset = start
        for index in 0..<request.segmentCount {
            request.withMutableBytes(ofSegment: index) { bytes in
                let count = bytes.byteCount
                unsafe bytes.withUnsafeMutableBytes { target in
                    unsafe data.withUnsafeBytes {
                        unsafe target.copyMemory(from: .init(rebasing: $0[offset..<offset + count]))
                    }
                }
                offset += count
            }
        }
    }

    private func replace(_ blocks: Range<UInt64>, _ offset: Int, _ bytes: [UInt8]) {
        unsafe data.withUnsafeMutableBytes { target in
            unsafe bytes.withUnsafeBytes { source in
                unsafe UnsafeMutableRawBufferPointer(rebasing: target[offset...]).copyMemory(from: source)
            }
        }
        uncorrectable.subtract(blocks)
    }

    private func isEqual(_ request: borrowing IORequest, _ offset: Int) -> Bool {
        let bytes = Self.bytes(request)
        return data[offset..<offset + bytes.count].elementsEqual(bytes)
    }

    private static func bytes(_ request: borrowing IORequest) -> [UInt8] {
        var all: [UInt8] = []
        for index in 0..<request.segmentCount { request.withBytes(ofSegment: index) { all += $0.array } }
        return all
    }

    private static func secondBytes(_ request: borrowing IORequest) -> [UInt8] {
        var all: [UInt8] = []
        for index in 0..<request.secondSegmentCount { request.withSecondBytes(ofSegment: index) { all += $0.array } }
        return all
    }

    /// The first block from `start` on of which `isWanted`, given whether it holds data, says so; `.max` without any.
    func seek(_ start: UInt64, _ isWanted: (Bool) -> Bool) -> UInt64 {
        let size = geometry.blockByteCount
        for block in Int(start)..<data.count / size {
            let holdsData = data[block * size..<(block + 1) * size].contains { $0 != 0 }
            if isWanted(holdsData) { return UInt64(block) }
        }
        return .max
    }

    // MARK: What may not happen

    /// The rules of a geometry that a request breaks.
    static func violations(_ arrival: Arrival, _ geometry: BdevGeometry, _ types: IOTypes) -> [String] {
        var found: [String] = []
        func require(_ condition: Bool, _ what: String) {
            if !condition { found.append("\(what): \(arrival)") }
        }
        func requireData(_ segments: [Int]) {
            let size = UInt64(geometry.blockByteCount)
            require(arrival.count > 0, "no blocks")
            require(UInt64(segments.reduce(0, +)) == arrival.count * size, "memory and blocks differ")
            require(segments.allSatisfy { $0 > 0 }, "an empty segment")
            if geometry.segmentCountLimit > 0 {
                require(segments.count <= geometry.segmentCountLimit, "too many segments")
                require(segments.allSatisfy { $0 <= geometry.segmentByteCountLimit }, "a segment too long")
            }
        }
        require(types.contains(arrival.type), "not supported")
        let (end, overflow) = arrival.start.addingReportingOverflow(arrival.count)
        require(!overflow && end <= geometry.blockCount || arrival.start >= geometry.blockCount, "out of range")
        switch arrival.type {
        case .read, .write:
            requireData(arrival.segments)
            if geometry.transferBlockCountLimit > 0 {
                require(arrival.count <= geometry.transferBlockCountLimit, "longer than a transfer")
            }
            if arrival.type == .write && geometry.splitsAtWriteUnit {
                let unit = geometry.writeUnitBlockCount
                require(arrival.start % unit == 0 && arrival.count == unit, "not one write unit")
            } else if geometry.splitsAtOptimalBoundary, arrival.count > 0 {
                let boundary = geometry.optimalBoundaryBlockCount
                require(arrival.start / boundary == (end - 1) / boundary, "crosses the boundary")
            }
        case .compare: requireData(arrival.segments)
        case .compareAndWrite:
            requireData(arrival.segments)
            requireData(arrival.second)
            require(
                arrival.count <= max(geometry.compareAndWriteBlockCountLimit, geometry.writeUnitBlockCount),
                "a long compare-and-write")
        case .copy:
            require(arrival.source + arrival.count <= geometry.blockCount, "out of range")
            let limit = geometry.copyBlockCountLimit
            require(limit == 0 || arrival.count <= limit, "a long copy")
            require(arrival.count > 0, "no blocks")
        case .unmap:
            require(
                geometry.unmapBlockCountLimit == 0 || arrival.count <= geometry.unmapBlockCountLimit, "a long unmap")
            require(arrival.count > 0, "no blocks")
        case .writeZeroes:
            let limit = geometry.writeZeroesBlockCountLimit
            require(limit == 0 || arrival.count <= limit, "a long write of zeroes")
            require(arrival.count > 0, "no blocks")
        default: break
        }
        return found
    }
}
