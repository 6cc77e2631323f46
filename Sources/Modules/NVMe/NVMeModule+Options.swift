public import Bdev
public import NVMeDriver
public import Reactors

extension NVMeModule {
    /// How all controllers are driven (SPDK: `bdev_nvme_set_options`).
    public struct Options: Sendable, Hashable {
        /// How long an I/O command may take; nil: as long as it wants.
        public var commandTimeout: Duration?
        /// How long an admin command may take. Then the controller is reset.
        public var adminTimeout = Duration.seconds(30)
        /// What happens to an I/O command that takes longer.
        public var timeoutAction = NVMeController.TimeoutAction.none
        /// How often an I/O is tried again that the device has failed; nil: without end. What fails because of a path
        /// goes another way, and is not counted.
        public var retryLimit: Int? = 3
        /// Commands that a queue pair accepts, in flight and waiting.
        public var requestCount = 512
        /// For controllers that are attached without another.
        public var recovery = Recovery()
        /// For bdevs that are made from now on.
        public var pathPolicy = PathPolicy.activePassive
        /// Whether the I/O of each path is counted.
        public var countsPathIO = false
        /// Whether controllers are attached that no IOMMU looks after. **Unsafe**: see the driver's own option.
        public var allowsNoIOMMU = false

        public init() {}

        /// - Throws: `invalidArgument` for values that have no meaning.
        public func validate() throws(BdevError) {
            if let retryLimit, retryLimit < 0 {
                throw BdevError(.invalidArgument, "a retry limit of \(retryLimit) has no meaning")
            }
            if !(1...65_535 ~= requestCount) {
                throw BdevError(.invalidArgument, "a queue pair accepts 1 to 65,535 commands, not \(requestCount)")
            }
            try recovery.validate()
        }
    }

    /// What happens when a controller is lost: it could not be reset, or was pulled out.
    public struct Recovery: Sendable, Hashable {
        /// After how long without success the path is given up, and its bdevs with it when there is no other. Zero: no
        /// reconnection is tried; nil: they go on for ever.
        public var lossTimeout: Duration? = .zero
        /// How long to wait before each reconnection.
        public var reconnectDelay = Duration.zero
        /// After how long I/O that waits for the controller fails; zero: only when the path is given up.
        public var fastFailTimeout = Duration.zero

        public init() {}

        /// Whether reconnections are tried.
        public var reconnects: Bool { lossTimeout != .zero }

        /// - Throws: `invalidArgument` for combinations that have no meaning (those that SPDK refuses).
        public func validate() throws(BdevError) {
            if lossTimeout.map({ $0 < .zero }) == true || reconnectDelay < .zero || fastFailTimeout < .zero {
                throw BdevError(.invalidArgument, "a time below zero has no meaning")
            }
            if lossTimeout == .zero {
                if reconnectDelay == .zero && fastFailTimeout == .zero { return }
                throw BdevError(
                    .invalidArgument, "without a controller loss timeout there is no reconnection",
                    advice: "set the loss timeout, or leave reconnect delay and fast-fail timeout at 0")
            }
            if reconnectDelay == .zero {
                throw BdevError(
                    .invalidArgument, "with a controller loss timeout there is a delay before each reconnection",
                    advice: "set the reconnect delay to a second or more")
            }
            if let lossTimeout, reconnectDelay > lossTimeout {
                throw BdevError(
                    .invalidArgument, "a reconnect delay of \(reconnectDelay) is longer than the loss timeout")
            }
            if fastFailTimeout == .zero { return }
            if fastFailTimeout < reconnectDelay {
                throw BdevError(
                    .invalidArgument, "a fast-fail timeout of \(fastFailTimeout) is over before the first reconnection")
            }
            if let lossTimeout, fastFailTimeout > lossTimeout {
                throw BdevError(
                    .invalidArgument, "a fast-fail timeout of \(fastFailTimeout) is longer than the loss timeout")
            }
        }
    }

    /// How a controller is attached.
    public struct AttachOptions: Sendable, Hashable {
        /// nil: as the module's options say.
        public var recovery: Recovery?
        /// Whether it may be another path to the subsystem of the same name; otherwise the name must be free.
        public var allowsMultipath = true
        /// The most bdevs it may come with; attaching fails when there are more.
        public var bdevCountLimit = 128
        /// I/O queue pairs that are asked for; nil: the driver's default.
        public var queuePairCount: Int?
        /// SUBNQN that it must have; nil: any.
        public var subsystemName: String?
        /// What of the protection information the controller checks with each read and write.
        public var checks: ProtectionInformation.Checks = []

        public init() {}
    }

    /// Which path of several an I/O takes. Paths that are optimized come before those that are not.
    public enum PathPolicy: Sendable, Hashable {
        /// The first that can be used, in the order they were attached, or the preferred one.
        case activePassive
        /// All in turn; each has `count` I/O before the next has.
        case roundRobin(count: UInt32)
        /// The one with the fewest I/O under way.
        case queueDepth
    }

    /// Makes a controller ready: called when it is attached, and again when it was lost.
    public typealias Connector =
        @Sendable (_ reactor: Reactor, _ options: NVMeController.Options) async throws(NVMeError) -> NVMeController
}

extension BdevError {
    /// What a driver's failure is for users of bdevs.
    init(_ error: NVMeError, bdev: String? = nil, _ what: String) {
        let code: Code =
            switch error.code {
            case .notPermitted, .memoryLimit: .notPermitted
            case .inUse: .busy
            case .unsafeDevice: .unsafeTarget
            case .invalidArgument, .noSuchDevice: .invalidArgument
            case .notSupported: .notSupported
            case .outOfMemory: .noMemory
            case .timedOut: .timedOut
            case .removed: .removed
            case .aborted: .aborted
            default: .moduleFailed
            }
        self.init(code, bdev: bdev, "\(what): \(error)")
    }
}
