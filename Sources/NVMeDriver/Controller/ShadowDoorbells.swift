import Logging
import Reactors

/// Words in memory that stand before a controller's doorbells, so that one that is at work need not be told: a store to
/// a register leaves a virtual machine, a store to memory does not (NVM Express Base Specification 2.0, section 5.8).
///
/// Two pages: what the driver would store to the registers, and up to where the controller looks by itself. Laid out as
/// the registers are.
final class ShadowDoorbells: Sendable {
    let values: IOVA
    let events: IOVA
    private let region: MemoryRegion
    private let pageByteCount: Int
    private let stride: Int

    init(pageByteCount: Int, stride: Int, node: Int?, domain: DMADomain) throws(NVMeError) {
        self.pageByteCount = pageByteCount
        self.stride = stride
        do {
            region = try MemoryRegion(byteCount: 2 * pageByteCount, pages: domain.pages, node: node)
        } catch {
            throw NVMeError(.outOfMemory, "cannot make shadow doorbells: \(error)")
        }
        values = try domain.map(region)
        events = values + pageByteCount
    }

    /// As they are when the controller is told of them.
    func clear() { region.memory(from: 0, count: region.byteCount).zero() }

    /// The doorbells of a queue with what stands before them, as though nothing had been told yet; as they are when the
    /// page has no room for them.
    func shadow(
        _ doorbells: (submission: Doorbell, completion: Doorbell), of id: UInt16
    ) -> (submission: Doorbell, completion: Doorbell) {
        let first = 2 * Int(id) * stride
        if first + stride + 8 > pageByteCount { return doorbells }
        return (shadow(doorbells.submission, at: first), shadow(doorbells.completion, at: first + stride))
    }

    private func shadow(_ doorbell: Doorbell, at offset: Int) -> Doorbell {
        let value = region.memory(from: offset, count: 4)
        let event = region.memory(from: pageByteCount + offset, count: 4)
        value.store(UInt32(0), at: 0)
        event.store(UInt32(0), at: 0)
        return doorbell.shadowed(by: value, event: event)
    }
}

extension NVMeController {
    /// Doorbell Buffer Config. A controller forgets it with a reset. Queues that are made from now on have shadows.
    func agreeOnShadowDoorbells() async throws(NVMeError) {
        usesShadowDoorbells = false
        if !identity.hasDoorbellBuffers || !(options.usesShadowDoorbells ?? !transport.hasIOMMU) { return }
        let shadows: ShadowDoorbells
        if let made = shadowDoorbells {
            shadows = made
        } else {
            shadows = try ShadowDoorbells(
                pageByteCount: capabilities.pageByteCounts.lowerBound, stride: capabilities.doorbellStride, node: node,
                domain: transport.domain)
            // It may use them although it says that it does not: they stay as long as the controller.
            shadowDoorbells = shadows
        }
        shadows.clear()
        var command = SubmissionQueueEntry(opcode: AdminOpcode.doorbellBufferConfig)
        command.dataPointer1 = shadows.values.rawValue
        command.dataPointer2 = shadows.events.rawValue
        do throws(NVMeError) {
            try await execute(command)
            usesShadowDoorbells = true
        } catch {
            if error.code != .commandFailed { throw error }
            logger.notice("\(name): no shadow doorbells: \(error)")
        }
    }
}
