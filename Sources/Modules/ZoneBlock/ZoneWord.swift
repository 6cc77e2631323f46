import Bdev

/// All there is to know about a zone, in one word, so that every reactor changes it in one atomic step.
///
/// Bits 0 to 39: the write pointer, in blocks from the zone's start; 40 to 55: writes that have their blocks and are
/// not complete; 56 to 58: the state; 59: somebody is changing the state.
struct ZoneWord {
    static let offsetLimit: UInt64 = 1 << 40 - 1
    static let writeLimit: UInt64 = 1 << 16 - 1
    static let oneWrite: UInt64 = 1 << 40

    private(set) var bits: UInt64

    init(bits: UInt64) { self.bits = bits }

    init(_ state: ZoneState, offset: UInt64) { bits = UInt64(state.rawValue) << 56 | offset }

    var offset: UInt64 {
        get { bits & Self.offsetLimit }
        set { bits = bits & ~Self.offsetLimit | newValue }
    }

    var writeCount: UInt64 {
        get { bits >> 40 & Self.writeLimit }
        set { bits = bits & ~(Self.writeLimit << 40) | newValue << 40 }
    }

    var state: ZoneState {
        get {
            // Only states get in here.
            ZoneState(rawValue: UInt8(truncatingIfNeeded: bits >> 56 & 7)) ?? .offline
        }
        set { bits = bits & ~(7 << 56) | UInt64(newValue.rawValue) << 56 }
    }

    /// While it is set nobody else changes the state, and no write gets blocks.
    var isChanging: Bool {
        get { bits >> 59 & 1 == 1 }
        set { bits = bits & ~(1 << 59) | (newValue ? 1 << 59 : 0) }
    }
}

extension ZoneState {
    var isOpen: Bool { self == .implicitlyOpen || self == .explicitlyOpen }
    /// Uses resources of the device.
    var isActive: Bool { isOpen || self == .closed }

    /// Where an action leads from here; nil when it is not allowed (Zoned Namespace Command Set Specification 1.1,
    /// section 3.4.3).
    func after(_ action: ZoneAction) -> ZoneState? {
        switch (action, self) {
        case (.open, .empty), (.open, .implicitlyOpen), (.open, .explicitlyOpen), (.open, .closed): .explicitlyOpen
        case (.close, .implicitlyOpen), (.close, .explicitlyOpen), (.close, .closed): .closed
        case (.finish, .empty), (.finish, .implicitlyOpen), (.finish, .explicitlyOpen), (.finish, .closed),
            (.finish, .full):
            .full
        case (.reset, .empty), (.reset, .implicitlyOpen), (.reset, .explicitlyOpen), (.reset, .closed), (.reset, .full):
            .empty
        case (.offline, .readOnly): .offline
        default: nil
        }
    }

    /// Whether an action that is for all zones is for one in this state.
    func isAmongAll(of action: ZoneAction) -> Bool {
        switch action {
        case .open: self == .closed
        case .close: isOpen
        case .finish: isActive
        case .reset: isActive || self == .full
        case .offline: self == .readOnly
        }
    }
}
