import CLinux
import Glibc
import Synchronization
import SystemPackage
import Testing

@testable import Reactors

/// The two rings every test of the shared suite runs on.
enum RingKind: String, CaseIterable, CustomTestStringConvertible {
    case kernel, threads
    var testDescription: String { rawValue }
}

/// A ring with its wake event, on the calling thread.
final class RingBench {
    let ring: Ring
    let event: WakeEvent

    init(_ kind: RingKind, _ options: Ring.Options = Ring.Options()) throws {
        event = try WakeEvent()
        switch kind {
        case .kernel: ring = try KernelRing(options: options, wakeEvent: event)
        case .threads: ring = ThreadPoolRing(options: options, wakeEvent: event)
        }
    }

    deinit { #expect(ring.close() == 0) }

    /// Turns, sleeping in between, until `condition` holds; fails after ten seconds.
    func run(until condition: () -> Bool, _ location: SourceLocation = #_sourceLocation) {
        let end = ContinuousClock.now + .seconds(120)
        while !condition() {
            if ContinuousClock.now > end {
                Issue.record("the ring did not finish: \(ring.outstanding) outstanding", sourceLocation: location)
                return
            }
            if ring.turn() != .busy { ring.wait(nanoseconds: 10_000_000) }
        }
    }

    /// Runs one operation and returns its result.
    func result(
        of start: (UInt64, RingClient) -> Bool, _ location: SourceLocation = #_sourceLocation
    ) -> Int32 {
        let client = Collector()
        ring.add(client)
        defer { ring.remove(client) }
        #expect(start(7, client), sourceLocation: location)
        run(until: { client.results.count == 1 }, location)
        return client.results[7] ?? .min
    }
}

/// A client that remembers what it was told.
final class Collector: RingClient {
    var results: [UInt64: Int32] = [:]
    var order: [UInt64] = []
    var completed: ((UInt64, Int32) -> Void)?
    var room: (() -> Void)?

    override func ringCompleted(token: UInt64, result: Int32) {
        #expect(results.updateValue(result, forKey: token) == nil, "token \(token) was completed twice")
        order.append(token)
        completed?(token, result)
    }

    override func ringHasRoom() { room?() }
}

/// A file of its own under `directory`, without a name.
final class ScratchFile {
    let path: String
    let descriptor: FileDescriptor
    var file: RingFile { RingFile(descriptor) }

    init(byteCount: Int64 = 0, in directory: String = "/dev/shm") throws {
        path = "\(directory)/swift-bdev-test-\(UInt64.random(in: .min ... .max))"
        descriptor = try FileDescriptor.open(
            FilePath(path), .readWrite, options: [.create, .exclusiveCreate], permissions: .ownerReadWrite)
        try descriptor.resize(to: byteCount)
    }

    deinit {
        try? descriptor.close()
        unlinkFile(path)
    }

    var byteCount: Int64 { get throws { try descriptor.seek(offset: 0, from: .end) } }

    func write(_ bytes: [UInt8], at offset: Int64) throws {
        #expect(try descriptor.writeAll(toAbsoluteOffset: offset, bytes) == bytes.count)
    }

    func read(at offset: Int64, count: Int) throws -> [UInt8] {
        // SAFETY: the array's own bounds.
        unsafe try [UInt8](unsafeUninitializedCapacity: count) { buffer, length in
            length = unsafe try descriptor.read(
                fromAbsoluteOffset: offset, into: UnsafeMutableRawBufferPointer(buffer))
        }
    }
}

func unlinkFile(_ path: String) { _ = unsafe unlink(path) }

func consumeByte(of descriptor: FileDescriptor) {
    var byte: UInt8 = 0
    // SAFETY: one byte.
    _ = unsafe withUnsafeMutableBytes(of: &byte) { unsafe try? descriptor.read(into: $0) }
}

extension IOMemory {
    func fill(_ byte: UInt8) {
        // SAFETY: its own bounds.
        unsafe base.initializeMemory(as: UInt8.self, repeating: byte, count: byteCount)
    }

    func store(_ bytes: [UInt8]) {
        precondition(bytes.count <= byteCount)
        // SAFETY: the bound is checked.
        for (index, byte) in bytes.enumerated() {
            unsafe base.storeBytes(of: byte, toByteOffset: index, as: UInt8.self)
        }
    }

    var bytes: [UInt8] {
        // SAFETY: its own bounds.
        (0..<byteCount).map { unsafe base.load(fromByteOffset: $0, as: UInt8.self) }
    }
}

/// Reproducible randomness (SplitMix64).
struct SeededGenerator: RandomNumberGenerator {
    private var state: UInt64
    init(seed: UInt64) { state = seed }

    mutating func next() -> UInt64 {
        state &+= 0x9e37_79b9_7f4a_7c15
        var z = state
        z = (z ^ (z >> 30)) &* 0xbf58_476d_1ce4_e5b9
        z = (z ^ (z >> 27)) &* 0x94d0_49bb_1331_11eb
        return z ^ (z >> 31)
    }
}

func time(_ body: () -> Void) -> Duration { ContinuousClock().measure(body) }

func pause(milliseconds: UInt32) { _ = usleep(milliseconds * 1000) }

/// A thread that runs `body` once.
final class BackgroundThread: @unchecked Sendable {
    // SAFETY: set in init, read by `join` only.
    private var thread: UInt64 = 0
    private let body: @Sendable () -> Void

    init(_ body: @escaping @Sendable () -> Void) {
        self.body = body
        // SAFETY: the thread takes the reference back exactly once.
        let result = unsafe clinux_start_thread(
            &thread, { unsafe Unmanaged<BackgroundThread>.fromOpaque($0).takeRetainedValue().body() },
            Unmanaged.passRetained(self).toOpaque())
        precondition(result == 0)
    }

    func join() { clinux_join_thread(thread) }
}

final class Counter: Sendable {
    private let value = Atomic(0)
    var count: Int { value.load(ordering: .acquiring) }
    func add() { value.add(1, ordering: .acquiringAndReleasing) }
}

/// Runs a command of the system's administration, and gives back its standard output.
func shell(_ command: String) -> (status: Int32, output: String) {
    // SAFETY: the stream is open from popen to pclose, and the buffer bounds what is read.
    guard let stream = unsafe popen("PATH=$PATH:/usr/sbin:/sbin; \(command)", "r") else { return (-1, "") }
    let bytes = unsafe [UInt8](unsafeUninitializedCapacity: 4096) { buffer, count in
        count = unsafe fread(buffer.baseAddress!, 1, buffer.count, stream)
    }
    let status = unsafe pclose(stream)
    return (status, String(decoding: bytes.reversed().drop { $0 == 10 }.reversed(), as: UTF8.self))
}
