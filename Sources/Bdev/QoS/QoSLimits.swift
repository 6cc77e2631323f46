/// How much a bdev may do in a second, on all reactors together. Exact: nothing is rounded.
///
/// Reads and writes count, also where they are parts of a longer one; other kinds of I/O are free. I/O beyond a limit
/// waits, in order.
public struct QoSLimits: Sendable, Hashable {
    /// Reads and writes; nil: as many as there are.
    public var operationsPerSecond: UInt64?
    /// Bytes read and written; nil: as many as there are.
    public var bytesPerSecond: UInt64?
    /// Bytes read; nil: as many as there are.
    public var readBytesPerSecond: UInt64?
    /// Bytes written; nil: as many as there are.
    public var writeBytesPerSecond: UInt64?
    /// What has not been used may be used later, if not later than this.
    public var burst: Duration

    /// No limits. `burst`: from 0 to a second.
    public init(burst: Duration = .milliseconds(5)) { self.burst = burst }

    /// Whether anything is limited.
    public var isUnlimited: Bool {
        operationsPerSecond == nil && bytesPerSecond == nil && readBytesPerSecond == nil && writeBytesPerSecond == nil
    }

    func validate(name: String) throws(BdevError) {
        func refuse(_ what: String, _ advice: String) -> BdevError {
            BdevError(.invalidArgument, bdev: name, "cannot limit to \(what)", advice: advice)
        }
        let rates = [operationsPerSecond, bytesPerSecond, readBytesPerSecond, writeBytesPerSecond]
        if rates.contains(0) { throw refuse("0 a second", "leave a limit out, or make it at least 1") }
        if burst < .zero || burst > .seconds(1) { throw refuse("a burst of \(burst)", "use 0 to 1 second") }
    }
}
