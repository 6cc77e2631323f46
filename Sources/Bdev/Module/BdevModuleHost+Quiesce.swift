/// A bdev, or a range of it, whose I/O waits. Got from ``BdevModuleHost/quiesce(_:blocks:)`` and ended with
/// ``BdevModuleHost/unquiesce(_:)``; until then the bdev cannot go away.
public struct Quiescence: Sendable {
    let bdev: RegisteredBdev
    let lock: RangeLock

    /// The blocks whose I/O waits.
    public var blocks: Range<UInt64> { lock.blocks }
}

extension BdevModuleHost {
    /// Keeps all I/O of a bdev of this module waiting, reads too: on every reactor, also through channels that are
    /// opened later. Returns when what was on its way has ended. From anywhere.
    ///
    /// I/O that waits is not with the device: its latency begins anew when it goes on, and a reset aborts it. Time-outs
    /// report it meanwhile. Overlapping ranges have
    /// their turns in the order they were asked for. Cancelling the task does not end the wait.
    ///
    /// `blocks`: nil: all of them.
    /// - Throws: `noSuchBdev` when this module has none of that name, `outOfRange`, `invalidArgument` for an empty
    ///   range, `removed`.
    public func quiesce(_ name: String, blocks: Range<UInt64>? = nil) async throws(BdevError) -> Quiescence {
        let bdev = try await engine.find(name, of: module)
        let all = 0..<bdev.blockCount
        let chosen = blocks ?? all
        if chosen.isEmpty { throw BdevError(.invalidArgument, bdev: name, "cannot quiesce an empty range") }
        if !all.contains(chosen.lowerBound) || chosen.upperBound > all.upperBound {
            throw BdevError(
                .outOfRange, bdev: name,
                "cannot quiesce the blocks \(chosen): the bdev has \(all.count)")
        }
        return Quiescence(bdev: bdev, lock: try await bdev.holds.lock(chosen, holdingReads: true, of: bdev))
    }

    /// Lets the I/O go on, in the order it came. May be called by whoever got the quiescence, from anywhere, once.
    ///
    /// - Throws: `invalidArgument` when it has ended already.
    public func unquiesce(_ quiescence: Quiescence) async throws(BdevError) {
        let bdev = quiescence.bdev
        if await !bdev.holds.unlock(quiescence.lock.id, of: bdev) {
            throw BdevError(.invalidArgument, bdev: bdev.name, "this quiescence has ended already")
        }
    }
}
