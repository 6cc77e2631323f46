import Bdev
import Logging
import Reactors
import SystemPackage

/// A file that has been opened for a bdev, and what sort of bdev it makes.
struct UringTarget {
    let file: BlockFile
    let properties: BdevProperties
    let blockByteCount: Int
    /// Plain system calls are worth trying.
    let isInMemory: Bool

    init(_ options: UringModule.Options, logger: Logger) throws(BdevError) {
        let name = options.name
        if options.byteCount == 0 { throw BdevError(.invalidArgument, bdev: name, "cannot make a file of 0 bytes") }
        if options.byteCount != nil, options.isReadOnly {
            throw BdevError(
                .invalidArgument, bdev: name, "a read-only file is not made",
                advice: "leave out its size, or open it for writing")
        }
        file = try Self.open(options)
        let size = try Self.blockByteCount(options, file)
        let (blockCount, rest) = UInt64(file.byteCount).quotientAndRemainder(dividingBy: UInt64(size))
        if blockCount == 0 {
            throw BdevError(
                .invalidGeometry, bdev: name,
                "\(file.path) has \(file.byteCount) bytes, less than one block of \(size) bytes",
                advice: "give it a size")
        }
        if rest > 0 {
            logger.notice("\(name): the last \(rest) bytes of \(file.path) are no whole block and stay out of reach")
        }
        if options.usesDirectIO, !file.isDirect {
            logger.notice("\(name): \(file.path) goes through the page cache: its file system has no direct I/O")
        }
        blockByteCount = size
        isInMemory = options.transferMode == .automatic && file.isInMemory
        properties = Self.properties(options, file, size, blockCount)
    }

    private static func open(_ options: UringModule.Options) throws(BdevError) -> BlockFile {
        var how = BlockFile.Options()
        how.isReadOnly = options.isReadOnly
        how.usesDirectIO = options.usesDirectIO
        how.ignoresSignatures = options.ignoresSignatures
        if let byteCount = options.byteCount {
            guard let count = Int64(exactly: byteCount) else {
                throw BdevError(
                    .invalidArgument, bdev: options.name, "cannot make a file of \(byteCount) bytes",
                    advice: "ask for less")
            }
            how.createdByteCount = count
        }
        do {
            return try BlockFile(path: options.path, options: how)
        } catch {
            throw BdevError(
                code(error.code), bdev: options.name, "\(error.path) \(error.message)", advice: error.advice,
                status: error.cause.map(IOStatus.system))
        }
    }

    private static func code(_ code: FileError.Code) -> BdevError.Code {
        switch code {
        case .notFound, .wrongKind, .wrongSize: .invalidArgument
        case .notPermitted: .notPermitted
        case .locked: .busy
        case .inUse, .carriesData: .unsafeTarget
        case .noSpace: .noSpace
        default: .moduleFailed
        }
    }

    private static func blockByteCount(_ options: UringModule.Options, _ file: BlockFile) throws(BdevError) -> Int {
        let least = max(file.logicalBlockByteCount, file.offsetAlignment, 512)
        guard let size = options.blockByteCount else { return least }
        func refuse(_ why: String, _ advice: String) -> BdevError {
            BdevError(
                .invalidGeometry, bdev: options.name, "\(file.path) cannot have blocks of \(size) bytes: \(why)",
                advice: advice)
        }
        if size < 512 || size & (size - 1) != 0 {
            throw refuse("not a power of two of at least 512", "use \(least)")
        }
        if size < least {
            let what = file.kind == .blockDevice ? "the device's are larger" : "direct I/O moves more at a time"
            throw refuse(what, "use \(least)")
        }
        return size
    }

    private static func properties(
        _ options: UringModule.Options, _ file: BlockFile, _ size: Int, _ blockCount: UInt64
    ) -> BdevProperties {
        var geometry = BdevGeometry(blockByteCount: size, blockCount: blockCount)
        geometry.memoryAlignment = file.memoryAlignment
        geometry.hasWriteCache = true
        geometry.node = file.node
        var types: IOTypes = [.read, .reset]
        if !file.isReadOnly {
            types.formUnion([.write, .flush])
            switch file.kind {
            case .blockDevice:
                types.insert(.writeZeroes)
                if file.queue.canDiscard { types.insert(.unmap) }
            case .regularFile:
                // Without holes the layer writes the zeros itself.
                if file.canPunchHoles { types.formUnion([.unmap, .writeZeroes]) }
            }
        }
        let kind = file.kind == .blockDevice ? "Block device" : "File"
        var properties = BdevProperties(
            name: options.name, productName: "\(kind) over io_uring", geometry: geometry, supportedTypes: types)
        properties.uuid = options.uuid
        return properties
    }
}
