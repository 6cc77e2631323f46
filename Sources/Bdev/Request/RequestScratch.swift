import Reactors

// SAFETY (below): the region has room for every slot of the pool, and a slot is with one module at a time.

/// The bytes that a module has in each request for itself. Paid for only where they are touched.
@safe struct RequestScratch {
    private let region: MemoryRegion?
    /// From one request's bytes to the next's.
    private let stride: Int
    /// How many a module has asked for.
    let byteCount: Int

    init(byteCount: Int) throws(BdevError) {
        self.byteCount = byteCount
        stride = (byteCount + 15) & ~15
        if byteCount == 0 {
            region = nil
            return
        }
        do {
            region = try MemoryRegion(byteCount: stride * (RequestPool.capacity + RequestPool.spareCount))
        } catch {
            throw BdevError(.noMemory, "\(error)")
        }
    }

    func base(_ index: UInt32) -> UnsafeMutableRawPointer {
        guard let region else { preconditionFailure("the module has asked for no scratch in its requests") }
        return unsafe region.base + Int(index) * stride
    }
}

extension IORequest {
    /// Lends the module's own part of the request: as long as ``BdevModule/requestScratchByteCount`` says, aligned to
    /// 16 bytes. What is in it stays from `submit` to completion; at first it is undefined.
    public func withScratch<Result, Failure: Error>(
        _ body: (inout MutableRawSpan) throws(Failure) -> Result
    ) throws(Failure) -> Result {
        let scratch = unsafe slot.pointee.core.takeUnretainedValue().scratch
        var span = unsafe MutableRawSpan(
            _unsafeStart: scratch.base(slot.pointee.index), byteCount: scratch.byteCount)
        return try body(&span)
    }

    /// The integer at `offset` in the module's own part of the request, in bytes. Traps when it reaches beyond the end.
    public func scratch<Value: FixedWidthInteger & BitwiseCopyable>(
        at offset: Int = 0, as type: Value.Type = Value.self
    ) -> Value {
        // SAFETY: the bound is checked, and every bit pattern is a value of an integer type.
        withScratch { unsafe $0.bytes.unsafeLoadUnaligned(fromByteOffset: offset, as: type) }
    }

    /// Puts an integer at `offset` in the module's own part of the request, in bytes. Traps when it reaches beyond the
    /// end.
    public func setScratch<Value: FixedWidthInteger & BitwiseCopyable>(_ value: Value, at offset: Int = 0) {
        withScratch { $0.storeBytes(of: value, toByteOffset: offset, as: Value.self) }
    }
}
