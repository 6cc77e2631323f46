/// A place on a bdev, in blocks or in bytes from its start. Never a bare integer, so that the two cannot be swapped.
@frozen
public struct BdevOffset: Hashable, Sendable, CustomStringConvertible {
    @usableFromInline let value: UInt64
    @usableFromInline let isBytes: Bool

    @inlinable
    init(value: UInt64, isBytes: Bool) {
        self.value = value
        self.isBytes = isBytes
    }

    /// The block with this number, the first being 0.
    @inlinable public static func block(_ index: UInt64) -> BdevOffset { BdevOffset(value: index, isBytes: false) }
    /// This many bytes from the start; a multiple of the block size, or the operation throws `misaligned`.
    @inlinable public static func byte(_ offset: UInt64) -> BdevOffset { BdevOffset(value: offset, isBytes: true) }

    public var description: String { isBytes ? "byte \(value)" : "block \(value)" }
}

/// A length on a bdev, in blocks or in bytes.
@frozen
public struct BdevLength: Hashable, Sendable, CustomStringConvertible {
    @usableFromInline let value: UInt64
    @usableFromInline let isBytes: Bool

    @inlinable
    init(value: UInt64, isBytes: Bool) {
        self.value = value
        self.isBytes = isBytes
    }

    /// This many blocks.
    @inlinable public static func blocks(_ count: UInt64) -> BdevLength { BdevLength(value: count, isBytes: false) }
    /// This many bytes; a multiple of the block size, or the operation throws `misaligned`.
    @inlinable public static func bytes(_ count: UInt64) -> BdevLength { BdevLength(value: count, isBytes: true) }

    public var description: String { isBytes ? "\(value) bytes" : "\(value) blocks" }
}
