package import Reactors

// SAFETY (below): whoever makes a list keeps its segments and their memory alive for the request or the call that uses
// it.

/// The memory of an I/O: none, one segment, or an array of them that somebody else owns.
@usableFromInline
@safe package struct Segments {
    /// One piece.
    let memory: IOMemory?
    /// Several; `memory` is unused then.
    let list: UnsafePointer<IOMemory>?
    package let count: Int

    /// None.
    init() {
        memory = nil
        unsafe list = nil
        count = 0
    }

    package init(_ memory: IOMemory) {
        self.memory = memory
        unsafe list = nil
        count = 1
    }

    /// `count` is at least 1.
    @unsafe package init(_ list: UnsafePointer<IOMemory>, count: Int) {
        precondition(count > 0, "a list of segments has at least one")
        memory = nil
        unsafe self.list = list
        self.count = count
    }

    /// A request's own.
    init(of slot: Slot) {
        unsafe memory = slot.pointee.memory
        unsafe list = slot.pointee.segments
        unsafe count = slot.pointee.segmentCount
    }

    subscript(index: Int) -> IOMemory {
        precondition(index >= 0 && index < count, "an I/O has no such segment")
        if let list = unsafe list { return unsafe list[index] }
        return memory!
    }

    /// Lends the bytes of a span to `body`, as one segment.
    static func with<Failure: Error>(
        _ bytes: inout MutableRawSpan, _ body: (Segments) throws(Failure) -> Void
    ) throws(Failure) {
        try unsafe bytes.withUnsafeMutableBytes { bytes throws(Failure) in
            guard let base = bytes.baseAddress else { return }
            try body(Segments(unsafe IOMemory(base: base, byteCount: bytes.count, arena: 0)))
        }
    }

    /// Lends the bytes of a span to `body`, which only reads them, as one segment.
    static func with<Failure: Error>(
        reading bytes: borrowing RawSpan, _ body: (Segments) throws(Failure) -> Void
    ) throws(Failure) {
        try unsafe bytes.withUnsafeBytes { bytes throws(Failure) in
            guard let base = unsafe UnsafeMutableRawPointer(mutating: bytes.baseAddress) else { return }
            try body(Segments(unsafe IOMemory(base: base, byteCount: bytes.count, arena: 0)))
        }
    }
}
