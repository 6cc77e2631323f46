import Logging
public import Reactors

/// What may lie in memory of the controller itself (CMB).
public struct ControllerMemoryUse: OptionSet, Hashable, Sendable {
    public let rawValue: UInt32

    public init(rawValue: UInt32) { self.rawValue = rawValue }

    /// Submission queues, as many as fit: the controller fetches no commands then, and each is stored through the bus
    /// instead, some 64 bytes at a time.
    public static let submissionQueues = ControllerMemoryUse(rawValue: 1 << 0)
    /// Buffers, in what the queues leave (``NVMeController/makeBuffers(byteCount:count:for:)``).
    public static let data = ControllerMemoryUse(rawValue: 1 << 3 | 1 << 4)
}

/// Memory in the controller itself (NVM Express Base Specification 2.0, section 8.5).
///
/// Submission queues have places from its start, by their numbers; data is given out from its end. Who comes first has
/// it: queues that find no room lie in the host's memory.
struct ControllerMemory: Sendable {
    /// Where the controller finds its first byte: an address that stands for nothing else.
    let start: IOVA
    /// What it is used for.
    let use: ControllerMemoryUse
    private let memory: MMIO
    private let placeByteCount: Int
    /// What lies between is nobody's yet.
    private var queuesEnd = 0, dataStart: Int

    /// `entryCount`: of each queue.
    init(_ memory: MMIO, for use: ControllerMemoryUse, at start: IOVA, entryCount: Int, pageByteCount: Int) {
        self.memory = memory
        self.use = use
        self.start = start
        placeByteCount = (entryCount * 64 + pageByteCount - 1) / pageByteCount * pageByteCount
        dataStart = memory.byteCount
    }

    var byteCount: Int { memory.byteCount }
    /// Not given to anybody.
    var dataByteCount: Int { use.isSuperset(of: .data) ? dataStart - queuesEnd : 0 }

    /// Of an I/O submission queue; nil: there is no room for it.
    mutating func place(ofQueue id: UInt16) -> (memory: MMIO, address: IOVA)? {
        let offset = (Int(id) - 1) * placeByteCount
        if id == 0 || !use.contains(.submissionQueues) || offset + placeByteCount > dataStart { return nil }
        queuesEnd = max(queuesEnd, offset + placeByteCount)
        return (memory.slice(from: offset, byteCount: placeByteCount), start + offset)
    }

    /// Takes a part for data, for good.
    mutating func take(byteCount: Int, of owner: any ControllerTransport) -> (region: MemoryRegion, address: IOVA)? {
        if byteCount > dataByteCount { return nil }
        dataStart -= byteCount
        return (memory.region(from: dataStart, byteCount: byteCount, of: owner), start + dataStart)
    }
}

/// Buffers in the memory of a controller, for one reactor.
///
/// Data that goes from one device to another need not pass through the host's memory: a controller writes what it reads
/// into another's buffer. For the processor it is as slow as the bus. What it holds is lost with a reset of its
/// controller. After a detach of that nobody reaches it any more: no command may be under way to it then.
public final class ControllerBuffers: Sendable {
    /// Whose they are.
    public let reactor: Reactor
    /// The size of each, in bytes.
    public let byteCount: Int
    private let pool: ReactorConfined<BufferPool>

    init(_ region: MemoryRegion, byteCount: Int, for reactor: Reactor) {
        self.reactor = reactor
        self.byteCount = byteCount
        pool = ReactorConfined(BufferPool(reactor: reactor, region: region, blockByteCount: byteCount))
    }

    /// One of them; nil: none is free. Called on their reactor. A few instructions.
    public func allocate(on local: isolated LocalReactor) -> IOBuffer? {
        precondition(local.reactor === reactor, "a controller's buffers are one reactor's own")
        return pool.value.allocate(byteCount: byteCount)
    }
}

extension NVMeController {
    /// What lies in the controller's memory; empty where it has none for what was asked.
    public var controllerMemoryUse: ControllerMemoryUse { controllerMemory?.use ?? [] }

    /// Bytes of the controller's memory that are for data and have not been given to anybody.
    public var controllerMemoryByteCount: Int { controllerMemory?.dataByteCount ?? 0 }

    /// Makes buffers in the controller's memory, for good: what is given to one reactor is not given to another, until
    /// the controller is detached. ``Options/controllerMemory`` must have asked for `data`.
    ///
    /// - Parameters:
    ///   - byteCount: of each, a multiple of 4096.
    ///   - count: how many.
    ///   - reactor: whose they are.
    /// - Throws: `notSupported`: the controller has no memory for data, or was not asked for it; `outOfMemory`: not so
    ///   much.
    public func makeBuffers(
        byteCount: Int, count: Int, for reactor: Reactor
    ) throws(NVMeError) -> ControllerBuffers {
        precondition(byteCount > 0 && byteCount % 4096 == 0 && count > 0, "buffers have whole pages of 4096 bytes")
        guard controllerMemoryUse.isSuperset(of: .data) else {
            throw NVMeError(
                .notSupported, device: name, "the controller has no memory for data, or was not asked for it",
                advice: "attach it with controllerMemory = [.data]")
        }
        let left = controllerMemoryByteCount
        let (wanted, overflows) = byteCount.multipliedReportingOverflow(by: count)
        guard !overflows, let part = controllerMemory?.take(byteCount: wanted, of: transport) else {
            throw NVMeError(
                .outOfMemory, device: name,
                "the controller's memory has \(left) bytes left for data, not \(count) times \(byteCount)")
        }
        transport.domain.adopt(part.region, at: part.address)
        return ControllerBuffers(part.region, byteCount: byteCount, for: reactor)
    }

    /// Has the controller show its memory, and lays it where none of the host's is (sections 3.1.3.11 to 3.1.3.14). The
    /// controller may forget it with a reset. Queues that are made from now on may lie there.
    func agreeOnControllerMemory() throws(NVMeError) {
        if options.controllerMemory.isEmpty || !capabilities.hasMemoryBuffer { return }
        let found = findControllerMemory()
        if let controllerMemory {
            // Queues and data lie there.
            guard let found, found.memory.byteCount == controllerMemory.byteCount,
                found.use.isSuperset(of: controllerMemory.use)
            else { throw NVMeError(.controllerFailed, device: name, "its own memory has changed with a reset") }
            return show(at: controllerMemory.start)
        }
        let wanted: [ControllerMemoryUse] = [.submissionQueues, .data].filter(options.controllerMemory.isSuperset)
        let use = ControllerMemoryUse(wanted.filter { found?.use.isSuperset(of: $0) == true })
        guard let found, !use.isEmpty, let start = transport.domain.reserve(byteCount: found.memory.byteCount) else {
            return logger.notice("\(name): nothing lies in the controller's memory: it has none for what was asked")
        }
        show(at: start)
        if transport.registers.load32(RegisterOffset.memoryBufferStatus) & 1 != 0 {
            hideControllerMemory()
            return logger.notice("\(name): nothing lies in the controller's memory: it refuses \(start)")
        }
        controllerMemory = ControllerMemory(
            found.memory, for: use, at: start, entryCount: queueEntryCount,
            pageByteCount: capabilities.pageByteCounts.lowerBound)
    }

    /// Has addresses stand for the host's memory, all of them, unless some are agreed on: whoever had the controller
    /// before may have laid its memory anywhere, and neither a reset of the controller nor its being off changes that.
    func hideControllerMemory() {
        if !capabilities.hasMemoryBuffer || controllerMemory != nil { return }
        // The lower half first: it puts the address out of force.
        transport.registers.store64(0, RegisterOffset.memoryBufferSpace)
    }

    /// The memory, and what the controller takes there.
    private func findControllerMemory() -> (memory: MMIO, use: ControllerMemoryUse)? {
        let registers = transport.registers
        registers.store32(1, RegisterOffset.memoryBufferSpace)
        let size = registers.load32(RegisterOffset.memoryBufferSize)
        let location = registers.load32(RegisterOffset.memoryBufferLocation), shift = size >> 8 & 0xF
        // SZU beyond 6 has no meaning.
        if shift > 6 { return nil }
        let unit = 4096 << Int(4 * shift), byteCount = Int(size >> 12) * unit, offset = Int(location >> 12) * unit
        guard let register = transport.baseAddressRegister(Int(location & 7)), offset <= register.byteCount,
            byteCount <= register.byteCount - offset
        else { return nil }
        // SQS, RDS and WDS are bits 0, 3 and 4.
        return (register.slice(from: offset, byteCount: byteCount), ControllerMemoryUse(rawValue: size & 0x19))
    }

    /// The upper half first: the lower one puts the address in force.
    private func show(at start: IOVA) {
        let registers = transport.registers
        registers.store32(UInt32(truncatingIfNeeded: start.rawValue >> 32), RegisterOffset.memoryBufferSpace + 4)
        registers.store32(UInt32(truncatingIfNeeded: start.rawValue) | 3, RegisterOffset.memoryBufferSpace)
    }
}
