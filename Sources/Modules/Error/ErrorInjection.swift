import Bdev

/// What an error bdev does to I/O that it is told to fail. Which I/O is hit follows from the order they come in alone.
public struct ErrorInjection: Sendable, Hashable {
    /// The kinds of I/O that can be hit.
    public enum Operation: Sendable, Hashable, CaseIterable {
        case read, write, unmap, flush
        /// Each of the others, with a count of its own.
        case all
    }

    /// What becomes of an I/O that is hit.
    public enum Effect: Sendable, Hashable {
        /// It fails, and the base never sees it.
        case failure
        /// It is kept until ``ErrorModule/resumePending(of:)`` lets it go on, or a reset or the bdev's removal gives it
        /// up.
        case pending
        /// `bits` are inverted in one byte of its data: of a read what the base has brought, of a write what the base
        /// is given; the writer's memory stays as it is. Data that ends before the byte, an unmap and a flush go on
        /// unharmed.
        case corruption(atByte: UInt64, bits: UInt8)
        /// The bdev has no room for it: the layer submits it again, and each time counts.
        case noMemory
        /// It fails with an NVMe status: a status code type below 8 and a status code.
        case nvmeFailure(type: UInt8, code: UInt8)
    }

    public var operation: Operation
    public var effect: Effect
    /// How many I/O are hit; 0 ends the injection.
    public var count = 1
    /// Hits an I/O only while at least so many others of its reactor are with the base.
    public var queueDepth = 0
    /// Hits an I/O only if it touches these blocks; nil: any.
    public var blocks: Range<UInt64>?

    public init(_ effect: Effect, of operation: Operation = .all, count: Int = 1) {
        self.effect = effect
        self.operation = operation
        self.count = count
    }
}
