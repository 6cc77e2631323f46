package import Reactors

// SAFETY (below): slots are never unmapped while their reactor lives, and only its thread, on which this runs, touches
// them; a slot in use has a channel, which outlives it.

/// A request that is not over, as people are shown what somebody waits for.
package struct OutstandingRequest: Sendable, CustomStringConvertible {
    /// The bdev's name.
    package let bdev: String
    /// The name of the bdev's module.
    package let module: String
    package let type: IOType
    package let startBlock: UInt64
    package let blockCount: UInt64
    /// Since it was submitted.
    package let age: Duration
    /// The module has it; otherwise it is in the layer.
    package let isWithModule: Bool
    package let reactor: String

    package var description: String {
        let range = blockCount == 0 ? "" : " of \(blockCount) blocks at block \(startBlock)"
        let place = isWithModule ? "module '\(module)' has kept it" : "in the layer"
        return "\(type)\(range) of '\(bdev)' on \(reactor): \(place) for \(age)"
    }
}

extension LocalReactor {
    /// Every request of this reactor that is not over, in no particular order.
    ///
    /// Cost: a look at every request the reactor has ever had at once.
    package var outstandingRequests: [OutstandingRequest] {
        (loop.attachment as? RequestPool).map { pool in unsafe pool.outstandingRequests { _ in true } } ?? []
    }
}

extension RequestPool {
    func outstandingRequests(_ isMeant: (Slot) -> Bool) -> [OutstandingRequest] {
        var found: [OutstandingRequest] = []
        let now = loop.clock.now()
        unsafe forEachSlot { slot in
            if unsafe slot.pointee.phase == .free || !isMeant(slot) { return }
            unsafe slot.pointee.core._withUnsafeGuaranteedRef { core in
                found.append(
                    unsafe OutstandingRequest(
                        bdev: core.bdev.name, module: core.bdev.moduleName, type: slot.pointee.type,
                        startBlock: slot.pointee.startBlock, blockCount: slot.pointee.blockCount,
                        age: loop.clock.duration(ticks: now &- slot.pointee.submitTick),
                        isWithModule: slot.pointee.phase == .inDevice || slot.pointee.phase == .submitting,
                        reactor: reactor.name))
            }
        }
        return found
    }
}
