import CLinux
import Glibc
import SystemPackage
import Testing

@testable import Reactors

@Suite struct `A block file` {
    private func options(_ change: (inout BlockFile.Options) -> Void) -> BlockFile.Options {
        var options = BlockFile.Options()
        change(&options)
        return options
    }

    private func failure(_ path: String, _ options: BlockFile.Options = BlockFile.Options()) -> FileError? {
        #expect(throws: FileError.self) { _ = try BlockFile(path: path, options: options) }
    }

    @Test(arguments: ["/dev/shm", "/var/tmp"])
    func `says what it is`(_ directory: String) throws {
        let scratch = try ScratchFile(byteCount: 1 << 20, in: directory)
        let file = try BlockFile(path: scratch.path)
        #expect(file.kind == .regularFile && !file.isReadOnly && file.byteCount == 1 << 20)
        #expect(file.logicalBlockByteCount == 512 && file.physicalBlockByteCount >= 4096)
        #expect(file.queue.canDiscard && file.queue.discardGranularity >= 512)
        if file.isDirect {
            #expect(file.offsetAlignment >= 1 && file.memoryAlignment >= 1 && file.offsetAlignment <= 4096)
        } else {
            #expect(file.offsetAlignment == 1 && file.memoryAlignment == 1)
        }
        try scratch.descriptor.resize(to: 2 << 20)
        #expect(try file.currentByteCount() == 2 << 20)
    }

    @Test func `falls back to the page cache where there is no direct input and output, and says so`() throws {
        // Files of sysfs claim a size of a page, and refuse O_DIRECT.
        let attribute = try BlockFile(path: "/sys/kernel/uevent_seqnum", options: options { $0.isReadOnly = true })
        #expect(!attribute.isDirect && attribute.memoryAlignment == 1 && attribute.offsetAlignment == 1)
        let scratch = try ScratchFile(byteCount: 4096)
        #expect(try !BlockFile(path: scratch.path, options: options { $0.usesDirectIO = false }).isDirect)
    }

    @Test(arguments: RingKind.allCases)
    func `is read and written directly through a ring`(_ kind: RingKind) throws {
        let scratch = try ScratchFile(byteCount: 1 << 20, in: "/var/tmp"), bench = try RingBench(kind)
        let file = try BlockFile(path: scratch.path), ring = bench.ring
        let registered = ring.register(file.descriptor)
        let region = try MemoryRegion(byteCount: 16384)
        _ = ring.register(region)
        let source = region.memory(from: 0, count: 4096), target = region.memory(from: 8192, count: 4096)
        source.fill(0x5a)
        #expect(bench.result { ring.write(registered, at: 8192, from: source, token: $0, for: $1) } == 4096)
        #expect(bench.result { ring.read(registered, at: 8192, into: target, token: $0, for: $1) } == 4096)
        #expect(target.contentEquals(source))
        ring.unregister(registered)
        withExtendedLifetime((region, file)) {}
    }

    @Test func `is made with a size, extended to it, but never cut`() throws {
        let path = "/var/tmp/swift-bdev-test-\(UInt64.random(in: .min ... .max))"
        defer { unlinkFile(path) }
        for (size, expected) in [(Int64(8192), Int64(8192)), (1 << 20, 1 << 20), (4096, 1 << 20)] {
            #expect(try BlockFile(path: path, options: options { $0.createdByteCount = size }).byteCount == expected)
        }
    }

    @Test func `that cannot be made that large leaves nothing behind`() throws {
        let path = "/var/tmp/swift-bdev-test-\(UInt64.random(in: .min ... .max))"
        let error = failure(path, options { $0.createdByteCount = .max })
        #expect(error?.code == .noSpace && error?.cause != nil)
        #expect(failure(path)?.code == .notFound)
    }

    @Test func `written by one cannot be opened by another, who is told by whom`() throws {
        let scratch = try ScratchFile(byteCount: 4096, in: "/var/tmp")
        let writer = try BlockFile(path: scratch.path)
        for isReadOnly in [false, true] {
            let error = failure(scratch.path, options { $0.isReadOnly = isReadOnly })
            #expect(error?.code == .locked && error?.path == scratch.path)
            #expect(error?.message.hasPrefix("is open by process \(getpid()) (") == true)
        }
        withExtendedLifetime(writer) {}
    }

    @Test func `may have many readers, but then no writer`() throws {
        let scratch = try ScratchFile(byteCount: 4096)
        do {
            let readers = try (0..<3).map { _ in
                try BlockFile(path: scratch.path, options: options { $0.isReadOnly = true })
            }
            #expect(failure(scratch.path)?.code == .locked)
            withExtendedLifetime(readers) {}
        }
        _ = try BlockFile(path: scratch.path)
    }

    @Test func `refuses what is no file and no device, what is missing and what is empty`() throws {
        for path in ["/dev/shm", "/dev/null", "/proc/self/fd/0/nothing"] {
            #expect([.wrongKind, .notFound, .system].contains(failure(path)?.code))
        }
        #expect(
            failure("/dev/null")?.description == """
                /dev/null: is neither a regular file nor a block device; give one of the two
                """)
        #expect(failure("/var/tmp/there-is-no-such-file")?.code == .notFound)
        let empty = try ScratchFile()
        #expect(failure(empty.path)?.code == .wrongSize)
    }

    @Test func `errors of open are sorted, and each is one line with advice`() {
        let sorted: [(Errno, FileError.Code)] = [
            (.noSuchFileOrDirectory, .notFound), (.permissionDenied, .notPermitted), (.notPermitted, .notPermitted),
            (.readOnlyFileSystem, .notPermitted), (.isDirectory, .wrongKind), (.tooManyOpenFiles, .system),
            (.ioError, .system),
        ]
        for (cause, code) in sorted {
            let error = FileError.opening("/a/b", cause, isReadOnly: false)
            #expect(error.code == code && error.cause == cause)
            #expect(error.description.hasPrefix("/a/b: cannot be opened") && error.description.contains("; "))
            #expect(!error.description.contains("\n"))
        }
    }
}

@Suite struct `What the system tells about files` {
    @Test func `a mount point is found by its device, blanks and all`() {
        let table = """
            21 1 253:1 / / rw,relatime shared:1 - ext4 /dev/vda1 rw
            35 21 8:16 / /mnt/with\\040a\\011blank rw - xfs /dev/sdb rw
            """
        #expect(DeviceSafety.mountPoint(major: 253, minor: 1, table: table) == "/")
        #expect(DeviceSafety.mountPoint(major: 8, minor: 16, table: table) == "/mnt/with a\tblank")
        #expect(DeviceSafety.mountPoint(major: 8, minor: 1, table: table) == nil)
        #expect(DeviceSafety.mountPoint(major: 8, minor: 1, table: "nonsense\n\n1 2") == nil)
    }

    @Test func `the holder of a lock is found by device and inode`() {
        let table = """
            1: POSIX  ADVISORY  WRITE 77 fd:00:131 0 EOF
            2: FLOCK  ADVISORY  WRITE 999999999 fd:0a:131 0 EOF
            3: FLOCK  ADVISORY  WRITE -1 fd:0a:132 0 EOF
            3: -> FLOCK  ADVISORY  WRITE 5 fd:0a:133 0 EOF
            """
        var file = clinux_file_info()
        (file.home_major, file.home_minor, file.inode) = (0xfd, 10, 131)
        #expect(FileLocks.holder(of: file, table: table) == "process 999999999")
        for inode in [UInt64(132), 133, 134] {
            file.inode = inode
            #expect(FileLocks.holder(of: file, table: table) == nil)
        }
    }
}

/// A loop device over a file in memory. Needs root, and says so.
private final class LoopDevice {
    static let isPossible = geteuid() == 0 && shell("losetup --find").status == 0
    let backing: ScratchFile
    let path: String

    init(byteCount: Int64) throws {
        backing = try ScratchFile(byteCount: byteCount)
        let made = shell("losetup --find --show \(backing.path)")
        try #require(made.status == 0, "losetup failed: \(made.output)")
        path = made.output
    }

    deinit { #expect(shell("losetup --detach \(path)").status == 0) }
}

@Suite(.serialized, .enabled(if: LoopDevice.isPossible, "needs root and a free loop device"))
struct `A block device` {
    private func open(_ path: String, ignoring: Bool = false, readOnly: Bool = false) throws(FileError) -> BlockFile {
        var options = BlockFile.Options()
        options.ignoresSignatures = ignoring
        options.isReadOnly = readOnly
        return try BlockFile(path: path, options: options)
    }

    private func failure(_ body: () throws -> Void) -> FileError? { #expect(throws: FileError.self, performing: body) }

    @Test(arguments: RingKind.allCases)
    func `is known by its sizes, zeroed and discarded`(_ kind: RingKind) throws {
        let device = try LoopDevice(byteCount: 1 << 20), bench = try RingBench(kind), ring = bench.ring
        let file = try open(device.path)
        #expect(file.kind == .blockDevice && file.byteCount == 1 << 20 && file.logicalBlockByteCount == 512)
        #expect(file.queue.canDiscard && file.queue.discardGranularity >= 512)
        let region = try MemoryRegion(byteCount: 65536), memory = region.memory(from: 0, count: 65536)
        let registered = ring.register(file.descriptor)
        memory.fill(0xee)
        #expect(bench.result { ring.write(registered, at: 0, from: memory, token: $0, for: $1) } == 65536)
        #expect(bench.result { ring.discard(registered, at: 4096, byteCount: 8192, token: $0, for: $1) } == 0)
        #expect(
            bench.result {
                ring.allocate(registered, at: 16384, byteCount: 4096, mode: .zero, token: $0, for: $1)
            } == 0)
        #expect(bench.result { ring.read(registered, at: 0, into: memory, token: $0, for: $1) } == 65536)
        let expected = (0..<65536).map { (4096..<12288).contains($0) || (16384..<20480).contains($0) ? 0 : UInt8(0xee) }
        #expect(memory.bytes == expected)
        #expect(file.isDirect && file.offsetAlignment == 512)
        #expect(
            bench.result { ring.read(registered, at: 1, into: memory, token: $0, for: $1) }
                == -Errno.invalidArgument.rawValue)
        #expect(bench.result { ring.discard(registered, at: 0, byteCount: 1 << 30, token: $0, for: $1) } < 0)
        #expect(bench.result { ring.synchronize(registered, token: $0, for: $1) } == 0)
        ring.unregister(registered)
        withExtendedLifetime((region, file)) {}
    }

    @Test func `with data on it is refused for writing, unless told otherwise`() throws {
        let device = try LoopDevice(byteCount: 8 << 20)
        #expect(shell("mkfs.ext4 -q \(device.path)").status == 0)
        let error = failure { _ = try open(device.path) }
        #expect(error?.code == .carriesData && error?.message.contains("(ext4)") == true)
        #expect(try open(device.path, readOnly: true).isReadOnly)
        _ = try open(device.path, ignoring: true)
    }

    @Test func `that is mounted is refused for writing, by the place`() throws {
        let device = try LoopDevice(byteCount: 8 << 20), place = "/var/tmp/swift-bdev-mount-\(getpid())"
        #expect(shell("mkfs.ext4 -q \(device.path) && mkdir \(place) && mount \(device.path) \(place)").status == 0)
        defer { #expect(shell("umount \(place) && rmdir \(place)").status == 0) }
        let error = failure { _ = try open(device.path, ignoring: true) }
        #expect(error?.code == .inUse && error?.message == "is mounted on \(place)")
    }

    @Test func `smaller than asked for, or open already, is refused`() throws {
        let device = try LoopDevice(byteCount: 1 << 20)
        var options = BlockFile.Options()
        options.createdByteCount = 2 << 20
        #expect(failure { _ = try BlockFile(path: device.path, options: options) }?.code == .wrongSize)
        let first = try open(device.path)
        #expect([.inUse, .locked].contains(failure { _ = try open(device.path) }?.code))
        #expect(failure { _ = try open(device.path, readOnly: true) }?.code == .locked)
        withExtendedLifetime(first) {}
    }

    @Test func `that grows is seen to`() throws {
        let device = try LoopDevice(byteCount: 1 << 20)
        let file = try open(device.path)
        try device.backing.descriptor.resize(to: 2 << 20)
        #expect(shell("losetup --set-capacity \(device.path)").status == 0)
        #expect(try file.currentByteCount() == 2 << 20 && file.byteCount == 1 << 20)
    }
}
