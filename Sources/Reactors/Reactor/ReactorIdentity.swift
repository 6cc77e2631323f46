import CLinux

/// Which reactor it is, for whoever asks often whether it is the one that runs: nothing is retained.
package struct ReactorIdentity: Sendable {
    private let address: UInt

    package init(of reactor: Reactor) { address = UInt(bitPattern: ObjectIdentifier(reactor)) }

    /// Whether the caller runs on its thread.
    package var isCurrent: Bool {
        // SAFETY: addresses are compared, not followed.
        unsafe UInt(bitPattern: clinux_current_reactor()) == address
    }
}
