import Bdev
import Reactors
import Testing

/// What only a driver knows of its bdev.
struct DriverDetailTests {
    @Test func `a driver tells what it has to say, and counts what it likes`() throws {
        try simulateEngine { here, engine, log in
            let module = RecordedModule("test", log), driver = TalkingDriver()
            try await engine.register(module)
            let properties = BdevProperties(
                name: "talking", productName: "Disk", geometry: .test, supportedTypes: .everything)
            try await module.host.value.register(properties, driver: driver)
            try await module.register("silent")
            #expect(try await engine.driverDetails(of: "talking") == ["wheels": .list([.number(2), .flag(true)])])
            #expect(try await engine.driverStatistics(of: "talking") == ["turns": .number(5)])
            #expect(try await engine.driverDetails(of: "silent") == [:])
            #expect(try await engine.driverStatistics(of: "silent") == [:])
            _ = try await engine.statistics("talking")
            #expect(driver.resets.value == [])
            _ = try await engine.statistics("talking", reset: .extremes)
            try await engine.resetStatistics("talking")
            #expect(driver.resets.value == [.extremes, .all])
            let absent = await code { () throws(BdevError) in _ = try await engine.driverDetails(of: "absent") }
            #expect(absent == .noSuchBdev)
        }
    }
}

private final class TalkingDriver: BdevDriver {
    let resets = Shared<[StatisticsReset]>([])

    func makeChannel(
        on local: isolated LocalReactor, requests: RequestTable
    ) async throws(BdevError) -> BdevModuleChannel { throw BdevError(.notSupported, "no channels here") }

    func details() async -> [String: DriverValue] { ["wheels": .list([.number(2), .flag(true)])] }
    func statistics() async -> [String: DriverValue] { ["turns": .number(5)] }
    func resetStatistics(_ reset: StatisticsReset) async { resets.value.append(reset) }
}
