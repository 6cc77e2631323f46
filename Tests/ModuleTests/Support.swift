import Bdev
import DelayBdev
import ErrorBdev
import Glibc
import MallocBdev
import NullBdev
import PassthruBdev
import Reactors
import SplitBdev
import Synchronization
import SystemPackage
import TestSupport
import Testing
import UringBdev

/// An engine with all modules, for the time of a test.
final class Bench: Sendable {
    let group: ReactorGroup
    let engine: BdevEngine
    let null = NullModule()
    let malloc = MallocModule()
    let uring: UringModule
    let passthru = PassthruModule()
    let split = SplitModule()
    let delay = DelayModule()
    let error = ErrorModule()
    let notices: Notices
    private let opened = Mutex<[BdevDescriptor]>([])

    init(options: ReactorOptions = ReactorOptions()) async throws {
        var options = options
        // Tests run beside each other.
        options.locksCores = false
        group = try ReactorGroup(cores: [0, 1], options: options)
        engine = BdevEngine(group: group)
        let notices = Notices()
        self.notices = notices
        uring = UringModule(logger: notices.logger)
        try await engine.start([null, malloc, uring, passthru, split, delay, error])
    }

    /// Runs `body` with a bench and takes everything down afterwards.
    static func run(
        options: ReactorOptions = ReactorOptions(), _ body: @Sendable (Bench) async throws -> Void
    ) async throws {
        let bench = try await Bench(options: options)
        let result: Result<Void, any Error>
        do {
            try await body(bench)
            result = .success(())
        } catch {
            result = .failure(error)
        }
        for descriptor in bench.opened.withLock({ $0 }) { await descriptor.close() }
        await bench.engine.stop()
        await bench.group.shutDown()
        try result.get()
    }

    /// Opens a bdev, to be closed at the end of the test at the latest.
    func open(_ name: String) async throws -> BdevDescriptor {
        let descriptor = try await engine.open(name, mode: .readWrite)
        opened.withLock { $0.append(descriptor) }
        return descriptor
    }

    /// Runs `body` on the first reactor with a channel of the bdev.
    func withChannel(
        _ name: String, mode: BdevDescriptor.Mode = .readWrite,
        _ body: @Sendable (isolated BdevChannel) async throws -> Void
    ) async throws {
        let descriptor = try await engine.open(name, mode: mode)
        do {
            try await descriptor.withChannel(on: engine.reactors[0], body)
            await descriptor.close()
        } catch {
            await descriptor.close()
            throw error
        }
    }
}

/// Runs `body`, which must throw a `BdevError` of this code.
@discardableResult
func expect(
    _ code: BdevError.Code, _ location: SourceLocation = #_sourceLocation,
    _ body: nonisolated(nonsending) () async throws -> Void
) async -> String {
    do {
        try await body()
        Issue.record("nothing was thrown instead of \(code)", sourceLocation: location)
    } catch let error as BdevError {
        #expect(error.code == code, "\(error)", sourceLocation: location)
        return error.description
    } catch {
        Issue.record("thrown was \(error) instead of \(code)", sourceLocation: location)
    }
    return ""
}

/// A path of its own, whose file is removed at the end.
final class ScratchPath: Sendable {
    let path: String

    init(in directory: String = "/dev/shm") {
        path = "\(directory)/swift-bdev-test-\(UInt64.random(in: .min ... .max))"
    }

    deinit {
        // SAFETY: the string lives for the time of the call.
        _ = unsafe unlink(path)
    }

    func resize(to byteCount: Int64) throws {
        let file = try FileDescriptor.open(FilePath(path), .readWrite, options: [.create], permissions: .ownerReadWrite)
        defer { try? file.close() }
        try file.resize(to: byteCount)
    }
}

/// A file behind a loop device, or a file system in memory. Taken down at the end. Needs root.
final class LoopDevice: Sendable {
    private let file: ScratchPath
    let path: String

    init(byteCount: Int64) throws {
        file = ScratchPath()
        try file.resize(to: byteCount)
        let (status, output) = shell("losetup --find --show \(file.path)")
        try #require(status == 0 && output.hasPrefix("/dev/loop"), "losetup failed: \(output)")
        path = output
    }

    deinit { _ = shell("losetup --detach \(path)") }
}

final class SmallFileSystem: Sendable {
    let path: String

    init(byteCount: Int) throws {
        path = "/tmp/swift-bdev-test-\(UInt64.random(in: .min ... .max))"
        let (status, output) = shell("mkdir \(path) && mount -t tmpfs -o size=\(byteCount) none \(path)")
        try #require(status == 0, "mount failed: \(output)")
    }

    deinit { _ = shell("umount \(path) && rmdir \(path)") }
}

let isRoot = getuid() == 0

/// Runs a command of the system's administration, and gives back its standard output.
func shell(_ command: String) -> (status: Int32, output: String) {
    // SAFETY: the stream is open from popen to pclose, and the buffer bounds what is read.
    guard let stream = unsafe popen("PATH=$PATH:/usr/sbin:/sbin; (\(command)) 2>&1", "r") else { return (-1, "") }
    let bytes = unsafe [UInt8](unsafeUninitializedCapacity: 4096) { buffer, count in
        count = unsafe fread(buffer.baseAddress!, 1, buffer.count, stream)
    }
    let status = unsafe pclose(stream)
    return (status, String(decoding: bytes.reversed().drop { $0 == 10 }.reversed(), as: UTF8.self))
}
