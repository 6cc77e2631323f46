public import Reactors

/// What may be asked of one read or write besides the data.
public struct IOOptions: Sendable {
    /// When the I/O is to be given up if it is not complete; nil: never. As with cancellation the device is asked, and
    /// the call returns when it has let go of the memory: with `timedOut`, unless the I/O succeeded all the same.
    /// Noticed within 10 ms.
    public var deadline: ReactorInstant?
    /// A write is complete only when the data is on the medium itself (NVMe: FUA). A bdev without a write cache does
    /// not need it.
    public var forcesUnitAccess = false
    /// Checks of the protection information that this I/O does without.
    public var excludedChecks: ProtectionInformation.Checks = []

    public init(deadline: ReactorInstant? = nil) { self.deadline = deadline }
}
