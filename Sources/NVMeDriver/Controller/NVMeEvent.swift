/// What a controller reports by itself.
public enum NVMeEvent: Sendable, Hashable {
    /// A namespace is there that was not before.
    case namespaceAdded(NVMeNamespace)
    /// A namespace is not the same as before: another size, another format.
    case namespaceChanged(NVMeNamespace)
    /// A namespace is gone.
    case namespaceRemoved(id: UInt32)
    /// The paths to namespaces have changed: see log page 0x0C.
    case asymmetricAccessChanged
    /// Something about its health: bits of the critical warning of log page 2.
    case health(criticalWarning: UInt8)
    /// An error that no command was told of: see log page 1.
    case error(information: UInt8)
    /// Anything else, as the completion gives it: type, information and log page.
    case other(type: UInt8, information: UInt8, logPage: UInt8)
    /// A reset has begun, or has ended well.
    case resetBegan
    case resetEnded
    /// It could not be started again.
    case failed
    /// It was pulled out.
    case removed
}
