import NVMeDriver
import Reactors

/// A controller of the same subsystem.
struct WeakEngine {
    weak var engine: SoftEngine?
}

// What happens to the whole controller.
extension SoftEngine {
    func breakDown() {
        isBroken = true
        registers.store32(registers.load32(Self.status) | 2, Self.status)
    }

    func pullOut() {
        isGone = true
        for offset in stride(from: 0, to: registers.byteCount, by: 4) { registers.store32(.max, offset) }
    }

    func plugIn() {
        isGone = false
        powerOn()
    }

    private func powerOn() {
        stop()
        mapper.takeOwnAway()
        readyChange = nil
        for offset in stride(from: 0, to: registers.byteCount, by: 4) { registers.store32(0, offset) }
        showCapabilities()
    }

    /// What the host writes to NSSR: "NVMe".
    static let resetKey: UInt32 = 0x4E56_4D65
    /// CSTS.NSSRO: the subsystem has been reset.
    static let wasReset: UInt32 = 1 << 4

    /// All controllers of the subsystem are as after power-on.
    func resetSubsystem() {
        for engine in [self] + peers.compactMap(\.engine) where !engine.isGone {
            engine.powerOn()
            engine.registers.store32(Self.wasReset, Self.status)
        }
    }

    /// A notice: the attributes of a namespace have changed (log page 4).
    func namespaceChanged(_ id: UInt32) {
        changedNamespaces.insert(id)
        report(2 | 4 << 16)
    }

    func report(_ event: UInt32) {
        guard isEnabled, !eventRequests.isEmpty else { return events.append(event) }
        complete(eventRequests.removeFirst(), NVMeCompletion(result: UInt64(event)), on: 0)
    }
}
