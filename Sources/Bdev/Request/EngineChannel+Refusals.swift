import Reactors

// SAFETY (below): slots are never unmapped while their reactor lives; a token that is out of date finds none.

extension EngineChannel {
    // MARK: Giving up

    /// Asks for the requests to be given up that `handler` submitted here with `tag` and that are not complete: what
    /// waits in the layer ends now, the device is asked for the rest. Each still completes through its handler, as
    /// aborted or, if it was quicker, as whatever it came to.
    ///
    /// Cost: a look at every request of the reactor.
    ///
    /// - Returns: how many there were.
    @discardableResult
    public func abort(tag: UInt64, of handler: IOHandler) -> Int {
        // Ending one may begin others, in slots that are free now.
        var found: [RequestToken] = []
        unsafe core.pool.forEachSlot { slot in
            let isWaiting = unsafe slot.pointee.phase == .inDevice || slot.pointee.phase == .queued
            if unsafe isWaiting && slot.pointee.sink == .handler && slot.pointee.tag == tag,
                unsafe slot.pointee.channel?.toOpaque() == Unmanaged.passUnretained(self).toOpaque(),
                unsafe slot.pointee.handler?.toOpaque() == Unmanaged.passUnretained(handler).toOpaque()
            {
                unsafe found.append(RequestToken(slot))
            }
        }
        for token in found {
            if let slot = unsafe core.pool.waitingSlot(token) { unsafe core.abort(slot) }
        }
        return found.count
    }

    // MARK: Refusals

    @inline(never)
    func refuse(_ type: IOType) -> BdevError {
        if isClosed { return BdevError(.closed, bdev: name, "cannot \(type): the channel is closed") }
        if core.bdev.isRemoved { return BdevError(.removed, bdev: name, "cannot \(type): the bdev is being removed") }
        if !isWritable && type.needsWritableDescriptor {
            return BdevError(
                .readOnly, bdev: name, "cannot \(type): the descriptor is read-only",
                advice: "open it with mode .readWrite")
        }
        return BdevError(.notSupported, bdev: name, "this bdev does not support \(type)")
    }

    @inline(never)
    func refuseLength(_ type: IOType, _ byteCount: UInt64) -> BdevError {
        // Who may not do it at all is told so first.
        if !mayDo(type) { return refuse(type) }
        return BdevError(
            .misaligned, bdev: name,
            "cannot \(type) \(byteCount) bytes: a length is one or more blocks of \(core.shape.blockByteCount) bytes"
        )
    }

    @inline(never)
    func refuseOffset(_ type: IOType, _ offset: BdevOffset) -> BdevError {
        BdevError(
            .misaligned, bdev: name,
            "cannot \(type) at \(offset): an offset is a multiple of the block size, \(core.shape.blockByteCount) bytes"
        )
    }

    @inline(never)
    func refuseRange(_ type: IOType, _ start: UInt64, _ count: UInt64) -> BdevError {
        BdevError(
            .outOfRange, bdev: name,
            "cannot \(type) \(count) blocks at block \(start): the bdev has \(core.blockCount) blocks")
    }

    @inline(never)
    func refuseMemory(_ type: IOType) -> BdevError {
        BdevError(
            .noMemory, bdev: name, "cannot \(type): all \(RequestPool.capacity) requests of this reactor are in use",
            advice: "submit again after a completion")
    }
}
