public import Reactors

/// Memory of a controller that keeps its contents without power (PMR, NVM Express Base Specification 2.0, section
/// 8.14), for reading.
public struct PersistentMemory: Sendable {
    /// Its size in bytes.
    public var byteCount: Int { region.byteCount }
    private let region: MemoryRegion

    init(_ memory: MMIO, of owner: any ControllerTransport) {
        region = memory.region(from: 0, byteCount: memory.byteCount, of: owner)
    }

    /// Fills `buffer` with what lies at `offset`, in bytes. Traps outside of its bounds. Any thread may call it; it
    /// takes as long as the bus does. Ones, after the controller was detached or pulled out.
    public func read(from offset: Int, into buffer: inout IOBuffer) {
        buffer.memory.copy(from: region.memory(from: offset, count: buffer.byteCount))
    }
}

extension NVMeController {
    /// The controller's persistent memory, which is switched on for it, and stays on until the controller is detached.
    ///
    /// - Throws: `notSupported`: it has none; `timedOut`: it does not become ready in the time that it names;
    ///   `controllerFailed`: its contents are lost or cannot be relied on; `closed`, `removed`.
    public func persistentMemory() async throws(NVMeError) -> PersistentMemory {
        if state != .ready {
            throw NVMeError(.closed, device: name, "the controller is \(state): its memory cannot be read")
        }
        let registers = transport.registers
        let capabilities = PersistentMemoryCapabilities(
            rawValue: registers.load32(RegisterOffset.persistentMemoryCapabilities))
        guard self.capabilities.hasPersistentMemoryRegion,
            let memory = transport.baseAddressRegister(capabilities.baseAddressRegister)
        else {
            throw NVMeError(.notSupported, device: name, "the controller has no persistent memory")
        }
        registers.store32(1, RegisterOffset.persistentMemoryControl)
        let isInTime = try await becomesTrue(within: capabilities.readyTimeout) { () throws(NVMeError) in
            let status = PersistentMemoryStatus(rawValue: registers.load32(RegisterOffset.persistentMemoryStatus))
            if status.rawValue == .max || transport.isRemoved {
                throw NVMeError(.removed, device: name, "the controller was pulled out")
            }
            if let problem = status.problem {
                throw NVMeError(
                    .controllerFailed, device: name, "its persistent memory \(problem)",
                    advice: "look at the controller's health (log page 02h)")
            }
            return status.isReady
        }
        if isInTime { return PersistentMemory(memory, of: transport) }
        throw NVMeError(
            .timedOut, device: name, "its persistent memory was not ready after \(capabilities.readyTimeout)")
    }
}

/// PMRCAP (section 3.1.3.17).
struct PersistentMemoryCapabilities {
    let rawValue: UInt32

    /// BIR.
    var baseAddressRegister: Int { Int(rawValue >> 5 & 7) }
    /// PMRTO, in units of PMRTU: 500 ms or minutes.
    var readyTimeout: Duration {
        (rawValue >> 8 & 3 == 0 ? .milliseconds(500) : .seconds(60)) * Int(rawValue >> 16 & 0xFF)
    }
}

/// PMRSTS (section 3.1.3.19).
struct PersistentMemoryStatus {
    let rawValue: UInt32

    /// NRDY is clear.
    var isReady: Bool { rawValue >> 8 & 1 == 0 }
    /// ERR and HSTS; nil: all is well, or it can be read at least.
    var problem: String? {
        if rawValue & 0xFF != 0 { return "reports error \(rawValue & 0xFF): what was written last may be lost" }
        return switch rawValue >> 9 & 7 {
        case 0, 2: nil
        case 1: "could not be restored: its contents may be lost"
        case 3: "has become unreliable"
        default: "is in a state that the specification does not name"
        }
    }
}
