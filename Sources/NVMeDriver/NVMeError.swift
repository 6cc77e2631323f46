public import SystemPackage

/// Why something with a controller failed: what, where, and what to do.
///
/// One word wide, so that a call that may throw costs nothing while it does not.
public struct NVMeError: Error, Sendable, CustomStringConvertible {
    /// What kind of failure it is. More kinds may be added.
    public struct Code: Hashable, Sendable, CustomStringConvertible {
        enum Kind: String {
            case noSuchDevice, notPermitted, inUse, noIOMMU, groupNotViable, memoryLimit, unsafeDevice, notSupported
            case invalidArgument, outOfRange, misaligned, outOfMemory, queueFull, commandFailed, timedOut, aborted
            case controllerFailed, removed, protocolViolation, closed, system
        }
        let kind: Kind
        public var description: String { kind.rawValue }

        /// There is no such PCI function, controller or namespace.
        public static let noSuchDevice = Code(kind: .noSuchDevice)
        /// The system does not let this process do it.
        public static let notPermitted = Code(kind: .notPermitted)
        /// Another process or driver has the device.
        public static let inUse = Code(kind: .inUse)
        /// The machine has no IOMMU that is switched on.
        public static let noIOMMU = Code(kind: .noIOMMU)
        /// Other devices of the IOMMU group are bound to drivers of the kernel.
        public static let groupNotViable = Code(kind: .groupNotViable)
        /// The process may not lock as much memory as the device needs.
        public static let memoryLimit = Code(kind: .memoryLimit)
        /// Taking the device could destroy data that something else uses.
        public static let unsafeDevice = Code(kind: .unsafeDevice)
        /// The controller, the namespace or the kernel does not do it.
        public static let notSupported = Code(kind: .notSupported)
        /// A parameter has no meaning.
        public static let invalidArgument = Code(kind: .invalidArgument)
        /// The blocks lie, in part or whole, beyond the end of the namespace.
        public static let outOfRange = Code(kind: .outOfRange)
        /// An address or length that the controller cannot do.
        public static let misaligned = Code(kind: .misaligned)
        /// No memory or device address was to be had.
        public static let outOfMemory = Code(kind: .outOfMemory)
        /// No request of the queue pair is free.
        public static let queueFull = Code(kind: .queueFull)
        /// The controller answered with an error; ``NVMeError/status`` is it.
        public static let commandFailed = Code(kind: .commandFailed)
        /// It did not happen in the time allowed.
        public static let timedOut = Code(kind: .timedOut)
        /// Given up before it was done: by a reset, a removal or a cancellation.
        public static let aborted = Code(kind: .aborted)
        /// The controller says that it has failed, or could not be started.
        public static let controllerFailed = Code(kind: .controllerFailed)
        /// The device is gone.
        public static let removed = Code(kind: .removed)
        /// The controller does what the specification forbids.
        public static let protocolViolation = Code(kind: .protocolViolation)
        /// The controller has been detached, or the queue pair closed.
        public static let closed = Code(kind: .closed)
        /// A system call failed.
        public static let system = Code(kind: .system)
    }

    private final class Details: Sendable {
        let code: Code
        let device: String?
        let message: String
        let advice: String?
        let status: NVMeStatus?
        let cause: Errno?

        init(
            _ code: Code, device: String?, message: String, advice: String?, status: NVMeStatus?, cause: Errno?
        ) {
            self.code = code
            self.device = device
            self.message = message
            self.advice = advice
            self.status = status
            self.cause = cause
        }
    }

    private let details: Details

    /// - Parameters:
    ///   - code: what kind of failure it is.
    ///   - device: which device: its PCI address, or a namespace of it.
    ///   - message: what was tried and what is wrong with it.
    ///   - advice: what to do about it.
    ///   - status: the controller's own answer.
    ///   - cause: the system's own answer.
    public init(
        _ code: Code, device: String? = nil, _ message: String, advice: String? = nil, status: NVMeStatus? = nil,
        cause: Errno? = nil
    ) {
        details = Details(code, device: device, message: message, advice: advice, status: status, cause: cause)
    }

    public var code: Code { details.code }
    /// Which device: its PCI address, or a namespace of it.
    public var device: String? { details.device }
    /// What was tried and what is wrong with it.
    public var message: String { details.message }
    /// What to do about it.
    public var advice: String? { details.advice }
    /// The controller's own answer, when there was one.
    public var status: NVMeStatus? { details.status }
    /// The system's own answer, when there was one.
    public var cause: Errno? { details.cause }

    /// The same failure, told of `device` when it names none.
    package func of(_ device: String) -> NVMeError {
        if self.device != nil { return self }
        return NVMeError(code, device: device, message, advice: advice, status: status, cause: cause)
    }

    /// One line: what, where, what to do.
    public var description: String {
        var text = device.map { "\($0): " } ?? ""
        text += message
        if let status { text += ": \(status)" }
        if let cause { text += ": \(cause)" }
        if let advice { text += "; \(advice)" }
        return text
    }
}
