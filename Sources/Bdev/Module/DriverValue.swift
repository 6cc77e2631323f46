/// Something that a driver says about itself, of the kinds that JSON has.
public enum DriverValue: Sendable, Hashable {
    case flag(Bool)
    case number(UInt64)
    case text(String)
    case list([DriverValue])
    case fields([String: DriverValue])
}

extension BdevEngine {
    /// What a bdev's driver has to say about it besides what every bdev has.
    ///
    /// - Throws: `noSuchBdev`.
    public func driverDetails(of name: String) async throws(BdevError) -> [String: DriverValue] {
        await (try find(name)).driver.details()
    }

    /// What a bdev's driver counts itself, besides ``statistics(_:reset:)``.
    ///
    /// - Throws: `noSuchBdev`.
    public func driverStatistics(of name: String) async throws(BdevError) -> [String: DriverValue] {
        await (try find(name)).driver.statistics()
    }
}
