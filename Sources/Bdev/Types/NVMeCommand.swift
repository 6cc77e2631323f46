/// A command in the form NVMe gives it: 16 words of 32 bits, as a submission queue entry holds them (NVM Express Base
/// Specification 2.0, figure 88). The device fills in what is its own business: the command identifier and where the
/// data is.
public struct NVMeCommand: Sendable {
    /// The words, in the processor's byte order.
    public var words = InlineArray<16, UInt32>(repeating: 0)

    public init() {}

    public init(opcode: UInt8, namespace: UInt32 = 0) {
        words[0] = UInt32(opcode)
        words[1] = namespace
    }

    /// What it does.
    public var opcode: UInt8 { UInt8(truncatingIfNeeded: words[0]) }
    /// NSID.
    public var namespace: UInt32 { words[1] }
}
