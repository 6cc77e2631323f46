public import Bdev
public import Logging
import Reactors

/// Makes bdevs of files and block devices, read and written through the reactors' io_uring rings.
///
/// Where the kernel forbids io_uring, threads do the same work; a notice says so.
public final class UringModule: BdevModule {
    public let name = "uring"
    private let host = HostSlot()
    private let logger: Logger
    private let drivers = ThreadLock<[String: UringDriver]>([:])

    /// - Parameter logger: what is worth knowing but is no error goes there, at notice.
    public init(logger: Logger = Logger(label: "swift-bdev.uring")) { self.logger = logger }

    public func start(_ host: BdevModuleHost) async throws(BdevError) { self.host.fill(host) }

    /// How reads and writes reach the kernel.
    public enum TransferMode: Sendable, Hashable {
        /// Through the ring, but for data in memory (tmpfs, zram, the kernel's RAM disks): that is copied by plain
        /// system calls on the reactor, within a bound for each turn, as long as those are quick.
        case automatic
        /// Always through the ring.
        case ring
    }

    /// How a bdev is made of a file or device.
    public struct Options: Sendable {
        public var name: String
        /// Of a regular file or a block device.
        public var path: String
        /// In bytes: a power of two, at least what the device has. nil: the device's; for a file, 512 or what direct
        /// I/O demands.
        public var blockByteCount: Int?
        /// A file that is missing is made this long, one that is shorter is extended; bytes. nil: it must be there.
        public var byteCount: UInt64?
        public var isReadOnly = false
        /// Past the page cache where the file system can (O_DIRECT); where it cannot, a notice says so.
        public var usesDirectIO = true
        /// Opens a device for writing though it carries a file system or the like.
        public var ignoresSignatures = false
        /// nil: a random one.
        public var uuid: BdevUUID?
        public var transferMode = TransferMode.automatic

        public init(name: String, path: String) {
            self.name = name
            self.path = path
        }
    }

    /// Makes a bdev of a file or block device, which it locks until the bdev is deleted.
    ///
    /// Cost: opening a file may block the calling thread for as long as the system takes.
    ///
    /// - Throws: `invalidArgument` for a path that leads nowhere or an empty file, `invalidGeometry` for an
    ///   impossible block size, `notPermitted`, `busy` when another process has locked the file (it is named),
    ///   `unsafeTarget` when a device to be written is in use or carries data, `noSpace`, `nameInUse`, `moduleFailed`
    ///   when the system refuses otherwise.
    public func create(_ options: Options) async throws(BdevError) {
        let target = try UringTarget(options, logger: logger)
        let driver = UringDriver(target, name: options.name, logger: logger) { [weak self] driver in
            self?.drivers.withLock { if $0[options.name] === driver { $0[options.name] = nil } }
        }
        try await host.value.register(target.properties, driver: driver)
        drivers.withLock { $0[options.name] = driver }
    }

    /// Removes a bdev and closes its file. Waits until everyone has closed it.
    ///
    /// - Throws: `noSuchBdev` when there is none of this name in this module, `busy` when it is on its way out already.
    public func delete(_ name: String) async throws(BdevError) { try await host.value.unregister(name) }

    /// Looks at the file's or device's size again and tells everyone who has the bdev open, if it has changed.
    ///
    /// - Returns: blocks on the bdev now.
    /// - Throws: `noSuchBdev`; `busy` when it has become smaller and somebody has it open; `invalidGeometry` when not
    ///   one block is left.
    @discardableResult
    public func rescan(_ name: String) async throws(BdevError) -> UInt64 {
        guard let driver = drivers.withLock({ $0[name] }) else {
            throw BdevError(.noSuchBdev, bdev: name, "there is no uring bdev of this name")
        }
        let count = try driver.currentBlockCount()
        try await host.value.resize(name, blockCount: count)
        return count
    }
}
