/// A block that is not what its protection information says: which one, and how they differ.
public struct ProtectionFailure: Error, Sendable, Hashable, CustomStringConvertible {
    /// What did not match. Made in this order: a block with several mismatches has the first.
    @frozen
    public enum Check: UInt8, Sendable, CaseIterable {
        case `guard`, applicationTag, referenceTag
    }

    public let check: Check
    /// The block, counted from the first one of the call.
    public let block: Int
    /// For a guard, what the block's bytes give; for an application tag, only the bits compared.
    public let expected: UInt64
    /// What the tuple holds, of the same bits.
    public let found: UInt64

    /// As NVMe has it: a media and data integrity error (2) with an end-to-end guard (0x82), application tag (0x83) or
    /// reference tag (0x84) check error.
    public var ioStatus: IOStatus {
        switch check {
        case .guard: IOStatus(.nvmeError, detail: 0x282)
        case .applicationTag: IOStatus(.nvmeError, detail: 0x283)
        case .referenceTag: IOStatus(.nvmeError, detail: 0x284)
        }
    }

    public var description: String {
        let name =
            switch check {
            case .guard: "guard"
            case .applicationTag: "application tag"
            case .referenceTag: "reference tag"
            }
        return "the \(name) of block \(block) is 0x\(String(found, radix: 16)), not 0x\(String(expected, radix: 16))"
    }
}
