public import Bdev
public import Logging
import Reactors

/// Divides bdevs into equal parts: `<base>p0`, `<base>p1`, … What does not fill a part is not used.
public final class SplitModule: StackedBdevModule {
    public let name = "split"
    public let stacked = StackedBdevs()
    private let logger: Logger

    /// - Parameter logger: is told, at notice, of parts for which there is no room.
    public init(logger: Logger = Logger(label: "swift-bdev.split")) { self.logger = logger }

    /// Divides `base` into `count` parts: now if it is there, or whenever it comes.
    ///
    /// - Parameters:
    ///   - base: its name, an alias or its UUID. The parts are named after its name.
    ///   - count: at least 1. Fewer are made when so many of the size given do not fit.
    ///   - partByteCount: the size of each, a multiple of the block size; nil: the base is divided evenly.
    /// - Returns: the names of the parts that are there now; none: the base is not there yet.
    /// - Throws: `invalidArgument` for a count of 0, for a size that is no whole number of blocks, and when not one
    ///   part fits; as `StackedBdevs.create(_:on:make:)`.
    @discardableResult
    public func create(
        on base: String, count: Int, partByteCount: UInt64? = nil
    ) async throws(BdevError) -> [String] {
        if count < 1 { throw BdevError(.invalidArgument, bdev: base, "cannot split into \(count) parts") }
        if partByteCount == 0 { throw BdevError(.invalidArgument, bdev: base, "cannot split into parts of 0 bytes") }
        let names = ThreadLock<[String]>([]), logger = logger
        try await stacked.create(base, on: base) { base throws(BdevError) in
            let size = try Self.partBlockCount(of: base, count, partByteCount)
            let room = base.blockCount / size
            if room < UInt64(count) {
                logger.notice("'\(base.name)' has room for \(room) parts of \(size) blocks, not for \(count)")
            }
            var parts: [StackedBdev] = []
            for index in 0..<min(UInt64(count), room) {
                let name = "\(base.name)p\(index)"
                parts.append(
                    try .partition(
                        name, of: base, blocks: index * size..<(index + 1) * size, productName: "Split disk"))
            }
            let made = parts.map(\.properties.name)
            names.withLock { $0 = made }
            return parts
        }
        return names.withLock { $0 }
    }

    private static func partBlockCount(
        of base: BdevDescriptor, _ count: Int, _ partByteCount: UInt64?
    ) throws(BdevError) -> UInt64 {
        let geometry = base.geometry, blockByteCount = UInt64(geometry.blockByteCount)
        // Parts begin where the base can begin a write, and have whole zones.
        let unit = geometry.zones?.blockCount ?? (geometry.splitsAtWriteUnit ? geometry.writeUnitBlockCount : 1)
        guard let partByteCount else {
            let size = base.blockCount / UInt64(count) / unit * unit
            if size > 0 { return size }
            throw BdevError(
                .invalidArgument, bdev: base.name,
                "cannot split \(base.blockCount) blocks into \(count) parts of \(unit) blocks or more")
        }
        if partByteCount % (unit * blockByteCount) != 0 {
            throw BdevError(
                .invalidArgument, bdev: base.name, "cannot split into parts of \(partByteCount) bytes",
                advice: "use a multiple of \(unit * blockByteCount) bytes")
        }
        let size = partByteCount / blockByteCount
        if size <= base.blockCount { return size }
        throw BdevError(
            .invalidArgument, bdev: base.name,
            "cannot split into parts of \(partByteCount) bytes: the bdev has \(geometry.byteCount)")
    }

    /// Removes the parts of a base, or forgets to make them. Waits until everyone has closed them.
    ///
    /// - Parameter base: as it was named when the parts were asked for.
    /// - Throws: `noSuchBdev` when no parts of it have been asked for, `busy` when they are being deleted already.
    public func delete(on base: String) async throws(BdevError) { try await stacked.delete(base) }
}
