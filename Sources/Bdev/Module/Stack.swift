import Reactors

/// What is to be made on one base, and how far it is. Unchecked Sendable: touched by its actor only.
final class Stack: @unchecked Sendable {
    enum State {
        /// The base is not there.
        case waiting
        case building
        case standing
        /// Its bdevs are being removed.
        case going
        /// Nothing is left, and nobody remembers it.
        case gone
    }

    let name: String
    let base: String
    /// Whether they are made again when the base is there again.
    let comesBack: Bool
    let make: StackedBdevs.Make
    var state = State.waiting
    /// Counts the times it was built, so that late news of an earlier base are recognized.
    var round = 0
    /// Of the base, while it is open, and of further ones.
    var descriptors: [BdevDescriptor] = []
    /// Those that have not been destroyed.
    var bdevs: [StackedBdev] = []
    var isBaseGoing = false
    /// Whoever asked for it is still being answered: a failure is his, and nothing is remembered.
    var isNew = true
    var isForgotten = false

    init(name: String, base: String, comesBack: Bool, make: @escaping StackedBdevs.Make) {
        self.name = name
        self.base = base
        self.comesBack = comesBack
        self.make = make
    }
}

/// A module's driver, and what is done when it has been destroyed.
final class StackedDriver: BdevDriver {
    private let driver: any BdevDriver
    private let destroyed: @Sendable () async -> Void

    init(_ driver: any BdevDriver, destroyed: @escaping @Sendable () async -> Void) {
        self.driver = driver
        self.destroyed = destroyed
    }

    func makeChannel(
        on local: isolated LocalReactor, requests: RequestTable
    ) async throws(BdevError) -> BdevModuleChannel { try await driver.makeChannel(on: local, requests: requests) }

    func removalBegan() async { await driver.removalBegan() }

    func destroy() async {
        await driver.destroy()
        await destroyed()
    }

    func details() async -> [String: DriverValue] { await driver.details() }
    func statistics() async -> [String: DriverValue] { await driver.statistics() }
    func resetStatistics(_ reset: StatisticsReset) async { await driver.resetStatistics(reset) }
}
