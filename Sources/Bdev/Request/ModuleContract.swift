import Reactors

// SAFETY (below): slots are never unmapped while their reactor lives, and what is read of one is read on the way to the
// end of the process, or by its reactor's thread.

/// What a module must not do, and the compiler cannot see: the process stops with a sentence, in release builds too,
/// before another bdev comes to harm. `docs/bdev.md` has the table.
extension RegisteredBdev {
    /// `fatalError`: the sentence of a failed precondition is not in a release build.
    @inline(never)
    nonisolated func contractBroken(_ what: String) -> Never {
        fatalError("module \(moduleName) of '\(name)': \(what)")
    }
}

extension ChannelCore {
    @usableFromInline
    func requestWasDropped(_ slot: Slot) {
        bdev.contractBroken(unsafe "a \(slot.pointee.type) request was dropped without being completed")
    }

    /// A module completes a request. In debug builds: who gets around the compiler is found here.
    @inline(__always)
    func checkThread(_ slot: Slot) { if !pool.identity.isCurrent { unsafe completedElsewhere(slot) } }

    @inline(never)
    private func completedElsewhere(_ slot: Slot) -> Never {
        let type = unsafe slot.pointee.type
        bdev.contractBroken("a \(type) request was completed on another thread than that of \(pool.reactor.name)")
    }
}

extension RequestPool {
    /// The slot of the request that a module has detached as `token`, which is used up. `bdev`: whose module has it.
    func slot(_ token: RequestToken, _ bdev: RegisteredBdev) -> Slot {
        // A request itself cannot leave its reactor, as far as the compiler sees; its number can.
        if !identity.isCurrent {
            bdev.contractBroken("a request token was turned back on another thread than that of \(reactor.name)")
        }
        // What is left of another reactor's number is beyond every index.
        let index = token.index ^ tokenTag
        if !(index < UInt32(usedCount) || Self.capacity..<Self.capacity + usedSpareCount ~= Int(index)) {
            bdev.contractBroken("a request token names no request of this reactor")
        }
        // SAFETY: among the initialized slots.
        let slot = unsafe slots + Int(index)
        let (phase, generation) = unsafe (slot.pointee.phase, slot.pointee.generation)
        if generation != token.generation || (phase != .inDevice && phase != .submitting) {
            bdev.contractBroken("a request token was used after its request was completed")
        }
        // Two bdevs of one module may share a channel, and so each other's tokens.
        if unsafe !slot.pointee.core._withUnsafeGuaranteedRef({ $0.bdev.module === bdev.module }) {
            bdev.contractBroken("a request token is of another module's request")
        }
        if unsafe !slot.pointee.isDetached { bdev.contractBroken("a request token was used twice") }
        unsafe slot.pointee.isDetached = false
        return unsafe slot
    }

    /// The slot of a request of this reactor that is not complete; nil when it is by now.
    func waitingSlot(_ token: RequestToken) -> Slot? {
        let slot = unsafe slots + Int(token.index ^ tokenTag)
        let (phase, generation) = unsafe (slot.pointee.phase, slot.pointee.generation)
        return unsafe generation == token.generation && (phase == .inDevice || phase == .queued) ? slot : nil
    }
}
