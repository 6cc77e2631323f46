import Logging
import Reactors

/// Memory in the controller itself (CMB) for submission queues: it need not fetch commands from the host's (NVM Express
/// Base Specification 2.0, section 8.5).
///
/// Each queue has a place of its own there by its number.
struct ControllerMemory: Sendable {
    /// Where the controller finds its first byte: an address that stands for nothing else.
    let start: IOVA
    private let memory: MMIO
    private let placeByteCount: Int

    /// `entryCount`: of each queue.
    init(_ memory: MMIO, at start: IOVA, entryCount: Int, pageByteCount: Int) {
        self.memory = memory
        self.start = start
        placeByteCount = (entryCount * 64 + pageByteCount - 1) / pageByteCount * pageByteCount
    }

    var byteCount: Int { memory.byteCount }

    /// Of an I/O submission queue; nil: there is no room for it.
    func place(ofQueue id: UInt16) -> (memory: MMIO, address: IOVA)? {
        let offset = (Int(id) - 1) * placeByteCount
        if id == 0 || offset + placeByteCount > memory.byteCount { return nil }
        return (memory.slice(from: offset, byteCount: placeByteCount), start + offset)
    }
}

extension NVMeController {
    /// Whether submission queues lie in the controller's memory, as far as it reaches.
    public var usesControllerMemory: Bool { controllerMemory != nil }

    /// Has the controller show its memory, and lays it where none of the host's is (sections 3.1.3.11 to 3.1.3.14). The
    /// controller may forget it with a reset. Queues that are made from now on may lie there.
    func agreeOnControllerMemory() throws(NVMeError) {
        if !options.usesControllerMemory || !capabilities.hasMemoryBuffer { return }
        let found = findControllerMemory()
        if let controllerMemory {
            // Queues lie there.
            guard let found, found.byteCount == controllerMemory.byteCount else {
                throw NVMeError(.controllerFailed, device: name, "its memory for queues has changed with a reset")
            }
            return show(at: controllerMemory.start)
        }
        guard let found, let start = transport.domain.reserve(byteCount: found.byteCount) else {
            return logger.notice("\(name): no submission queues in the controller's memory: it has none for them")
        }
        show(at: start)
        if transport.registers.load32(RegisterOffset.memoryBufferStatus) & 1 != 0 {
            return logger.notice("\(name): no submission queues in the controller's memory: it refuses \(start)")
        }
        controllerMemory = ControllerMemory(
            found, at: start, entryCount: queueEntryCount, pageByteCount: capabilities.pageByteCounts.lowerBound)
    }

    private func findControllerMemory() -> MMIO? {
        let registers = transport.registers
        registers.store32(1, RegisterOffset.memoryBufferSpace)
        let size = registers.load32(RegisterOffset.memoryBufferSize)
        let location = registers.load32(RegisterOffset.memoryBufferLocation), shift = size >> 8 & 0xF
        // SQS: submission queues may lie there. SZU beyond 6 has no meaning.
        if size & 1 == 0 || shift > 6 { return nil }
        let unit = 4096 << Int(4 * shift), byteCount = Int(size >> 12) * unit, offset = Int(location >> 12) * unit
        guard let register = transport.baseAddressRegister(Int(location & 7)), offset <= register.byteCount,
            byteCount <= register.byteCount - offset
        else { return nil }
        return register.slice(from: offset, byteCount: byteCount)
    }

    /// The upper half first: the lower one puts the address in force.
    private func show(at start: IOVA) {
        let registers = transport.registers
        registers.store32(UInt32(truncatingIfNeeded: start.rawValue >> 32), RegisterOffset.memoryBufferSpace + 4)
        registers.store32(UInt32(truncatingIfNeeded: start.rawValue) | 3, RegisterOffset.memoryBufferSpace)
    }
}
