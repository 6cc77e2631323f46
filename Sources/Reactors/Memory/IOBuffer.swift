import CLinux

/// Memory for I/O: aligned, from the pool of a reactor, owned by exactly one holder.
///
/// It cannot be copied, only moved or lent. A read borrows it `inout` and a write `borrowing` until the device has let
/// go of it, and the compiler holds everyone else off for as long: touching the buffer while a read is in flight, or
/// starting a second read into it, does not compile. After an error or a cancellation it is simply still the caller's.
///
/// Dropping it gives it back to its pool, from any thread.
///
/// A buffer kept in a property of a class or an actor cannot be lent across an `await`: take it into a local variable,
/// use it, put it back.
@safe public struct IOBuffer: ~Copyable, @unchecked Sendable {
    // SAFETY: the block's table lives as long as its pool, which an outstanding buffer keeps alive.
    @usableFromInline let block: UnsafeMutablePointer<BufferBlock>

    @unsafe init(block: UnsafeMutablePointer<BufferBlock>) { unsafe self.block = block }

    deinit { unsafe BufferPool.giveBack(block) }

    /// Its length in bytes: what was asked for.
    public var byteCount: Int { unsafe block.pointee.byteCount }

    /// The memory as a driver sees it.
    @inlinable
    package var memory: IOMemory {
        // SAFETY: the block describes memory of the pool's region, valid as long as this buffer is.
        unsafe IOMemory(base: block.pointee.base, byteCount: block.pointee.byteCount, arena: block.pointee.arena)
    }

    /// The memory of a buffer that may not be there.
    @inlinable
    package static func memory(of buffer: borrowing IOBuffer?) -> IOMemory? {
        switch buffer {
        case .some(let buffer): buffer.memory
        case .none: nil
        }
    }

    /// What it holds, for reading.
    public var bytes: RawSpan {
        @_lifetime(borrow self)
        get {
            // SAFETY: the span cannot outlive the borrow of self, and the memory is initialized (zero at first).
            let span = unsafe RawSpan(_unsafeStart: block.pointee.base, byteCount: block.pointee.byteCount)
            return unsafe _overrideLifetime(span, borrowing: self)
        }
    }

    /// What it holds, for writing.
    public var mutableBytes: MutableRawSpan {
        @_lifetime(&self)
        mutating get {
            // SAFETY: as for `bytes`, with exclusive access.
            let span = unsafe MutableRawSpan(_unsafeStart: block.pointee.base, byteCount: block.pointee.byteCount)
            return unsafe _overrideLifetime(span, mutating: &self)
        }
    }

    /// Sets every byte.
    public mutating func fill(with byte: UInt8) {
        // SAFETY: the block's own bounds.
        unsafe block.pointee.base.initializeMemory(as: UInt8.self, repeating: byte, count: byteCount)
    }

    /// Copies `text` in UTF-8 to `offset` (bytes from the start). Traps when it does not fit.
    public mutating func store(_ text: String, at offset: Int = 0) {
        var text = text
        text.withUTF8 { source in
            precondition(
                offset >= 0 && source.count <= byteCount && offset <= byteCount - source.count,
                "text reaches beyond the end of the buffer")
            // SAFETY: the bound is checked; the two do not overlap.
            if let start = source.baseAddress {
                unsafe (block.pointee.base + offset).copyMemory(from: start, byteCount: source.count)
            }
        }
    }

    /// Whether both hold the same bytes.
    public borrowing func contentEquals(_ other: borrowing IOBuffer) -> Bool { memory.contentEquals(other.memory) }
}

/// One piece of a pool's memory and who may use it.
@usableFromInline
@safe struct BufferBlock {
    @usableFromInline let base: UnsafeMutableRawPointer
    /// That of its size class.
    let capacity: Int
    @usableFromInline let arena: UInt32
    /// What the present holder asked for.
    @usableFromInline var byteCount: Int
    /// The next free one of its class.
    var next: UnsafeMutablePointer<BufferBlock>?
    /// Held strongly while the block is out.
    var pool: Unmanaged<BufferPool>?
}
