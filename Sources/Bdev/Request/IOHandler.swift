public import Reactors

/// Who is told when requests of the synchronous face complete. Subclass it and override ``ioCompleted(_:)``.
///
/// Called on the reactor, never inside a submit of its own. A handler with requests outstanding stays alive until the
/// last of them is complete.
open class IOHandler {
    private final var outstandingCount = 0

    public init() {}

    @inline(__always)
    final func enter() {
        // SAFETY: balanced by `leave` when the last request is complete.
        if outstandingCount == 0 { _ = unsafe Unmanaged.passRetained(self) }
        outstandingCount &+= 1
    }

    @inline(__always)
    final func leave() {
        outstandingCount &-= 1
        // SAFETY: balances `enter`.
        if outstandingCount == 0 { unsafe Unmanaged.passUnretained(self).release() }
    }

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
    /// The buffer it was submitted with: the handler's again. Nil for a request without data.
    public var buffer: IOBuffer?

    init(tag: UInt64, status: IOStatus, type: IOType, buffer: consuming IOBuffer?) {
        self.tag = tag
        self.status = status
        self.type = type
        self.buffer = buffer
    }
}
