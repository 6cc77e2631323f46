public import Reactors

/// Who is told when requests of the synchronous face complete. Subclass it and override ``ioCompleted(_:)``.
///
/// Called on the reactor, never inside a submit of its own. A handler with requests outstanding stays alive until the
/// last of them is complete.
open class IOHandler {
    /// The channel that keeps this handler alive at the moment; only compared.
    final var keeper: ObjectIdentifier?

    public init() {}

    /// One request is complete. May submit others. Must not block.
    open func ioCompleted(_ completion: consuming IOCompletion) {
        preconditionFailure("\(Self.self) does not override ioCompleted(_:)")
    }
}

/// How a request of the synchronous face ended.
public struct IOCompletion: ~Copyable {
    /// The number it was submitted with.
    public let tag: UInt64
    public let status: IOStatus
    public let type: IOType
    /// What the device answered: for a seek the block found, `.max` without one; 0 for what has no answer.
    public let result: UInt64
    /// The buffer it was submitted with: the handler's again. Nil for a request without data.
    public var buffer: IOBuffer?

    init(tag: UInt64, status: IOStatus, type: IOType, result: UInt64, buffer: consuming IOBuffer?) {
        self.tag = tag
        self.status = status
        self.type = type
        self.result = result
        self.buffer = buffer
    }
}
