/// The SMART / health information log page (NVM Express Base Specification 2.0, figure 207).
public struct HealthLog: Hashable, Sendable {
    /// Of the page.
    public static let identifier: UInt8 = 2
    public static let byteCount = 512

    /// The bytes as the controller gave them.
    public let data: [UInt8]

    /// Nil: `data` is shorter than the page.
    public init?(data: [UInt8]) {
        if data.count < Self.byteCount { return nil }
        self.data = data
    }

    private var reader: DataReader { DataReader(bytes: data) }

    private func large(_ offset: Int) -> UInt128 { reader.integer(at: offset) }

    /// Bit 0 spare is low, 1 temperature, 2 reliability degraded, 3 read-only, 4 volatile memory backup failed, 5
    /// persistent memory region.
    public var criticalWarning: UInt8 { reader.byte(0) }
    /// In kelvin.
    public var temperature: UInt16 { reader.word(1) }
    /// In percent.
    public var availableSpare: UInt8 { reader.byte(3) }
    public var availableSpareThreshold: UInt8 { reader.byte(4) }
    /// Of the life that the vendor expects, in percent; may go beyond 100.
    public var percentageUsed: UInt8 { reader.byte(5) }
    /// Units of 1,000 blocks of 512 bytes, rounded up.
    public var dataUnitsRead: UInt128 { large(32) }
    public var dataUnitsWritten: UInt128 { large(48) }
    public var readCommands: UInt128 { large(64) }
    public var writeCommands: UInt128 { large(80) }
    public var busyMinutes: UInt128 { large(96) }
    public var powerCycles: UInt128 { large(112) }
    public var powerOnHours: UInt128 { large(128) }
    public var unsafeShutdowns: UInt128 { large(144) }
    public var mediaErrors: UInt128 { large(160) }
    public var errorLogEntries: UInt128 { large(176) }
    /// Minutes above the warning and above the critical temperature.
    public var warningTemperatureMinutes: UInt32 { reader.double(192) }
    public var criticalTemperatureMinutes: UInt32 { reader.double(196) }
    /// In kelvin; of those that there are, by number from 1 on.
    public var temperatureSensors: [Int: UInt16] {
        var sensors: [Int: UInt16] = [:]
        for index in 0..<8 where reader.word(200 + 2 * index) != 0 { sensors[index + 1] = reader.word(200 + 2 * index) }
        return sensors
    }
}

/// An entry of the error information log page (NVM Express Base Specification 2.0, figure 206).
public struct ErrorLogEntry: Hashable, Sendable {
    /// Of the page.
    public static let identifier: UInt8 = 1
    /// Of an entry.
    public static let byteCount = 64

    /// The errors of the controller are counted; the newest has the highest count.
    public let count: UInt64
    /// nil: the error is not one of a command's, as with the next two.
    public let queueID: UInt16?
    public let commandIdentifier: UInt16?
    public let status: NVMeStatus
    /// The byte of the command that is at fault, and the bit in it; nil: none is.
    public let parameterByte: Int?
    public let parameterBit: Int?
    public let block: UInt64
    public let namespaceID: UInt32

    /// The entries of a page, the newest first; those that are not used are left out. A rest that is shorter than an
    /// entry is none.
    public static func entries(data: [UInt8]) -> [ErrorLogEntry] {
        let reader = DataReader(bytes: data)
        return (0..<data.count / byteCount).map { ErrorLogEntry(reader, at: $0 * byteCount) }.filter { $0.count > 0 }
    }

    private init(_ reader: DataReader, at offset: Int) {
        func identifier(_ value: UInt16) -> UInt16? { value == .max ? nil : value }
        count = reader.quad(offset)
        queueID = identifier(reader.word(offset + 8))
        commandIdentifier = identifier(reader.word(offset + 10))
        // Bit 0 is the phase.
        status = NVMeStatus(rawValue: reader.word(offset + 12) >> 1)
        let location = reader.word(offset + 14)
        parameterByte = location == .max ? nil : Int(location & 0xFF)
        parameterBit = location == .max ? nil : Int(location >> 8 & 7)
        block = reader.quad(offset + 16)
        namespaceID = reader.double(offset + 24)
    }
}

/// The firmware slot information log page (NVM Express Base Specification 2.0, figure 209).
public struct FirmwareLog: Hashable, Sendable {
    /// Of the page.
    public static let identifier: UInt8 = 3
    public static let byteCount = 512

    /// The bytes as the controller gave them.
    public let data: [UInt8]

    /// Nil: `data` is shorter than the page.
    public init?(data: [UInt8]) {
        if data.count < Self.byteCount { return nil }
        self.data = data
    }

    private var reader: DataReader { DataReader(bytes: data) }

    /// The slot that the running firmware came from: 1 to 7.
    public var activeSlot: Int { Int(reader.byte(0) & 7) }
    /// The slot that is used from the next reset on; nil: not said.
    public var nextSlot: Int? {
        let slot = Int(reader.byte(0) >> 4 & 7)
        return slot == 0 ? nil : slot
    }
    /// By slot, of those that hold something.
    public var revisions: [Int: String] {
        var revisions: [Int: String] = [:]
        for slot in 1...7 {
            let text = reader.text(8 * slot..<8 * slot + 8)
            if !text.isEmpty { revisions[slot] = text }
        }
        return revisions
    }
}

extension NVMeController {
    /// The health of the controller, or of a namespace where it keeps that apart.
    ///
    /// - Throws: as ``execute(_:data:)``.
    public func health(namespaceID: UInt32 = .max) async throws(NVMeError) -> HealthLog {
        let data = try await logPage(
            HealthLog.identifier, byteCount: HealthLog.byteCount, namespaceID: namespaceID)
        return try checked(HealthLog(data: data))
    }

    /// The newest errors that the controller keeps, at most `limit` of them.
    ///
    /// - Throws: as ``execute(_:data:)``.
    public func errorLog(limit: Int = .max) async throws(NVMeError) -> [ErrorLogEntry] {
        let count = max(1, min(limit, identity.errorLogEntryCount))
        let data = try await logPage(ErrorLogEntry.identifier, byteCount: count * ErrorLogEntry.byteCount)
        return ErrorLogEntry.entries(data: data)
    }

    /// What firmware the controller holds.
    ///
    /// - Throws: as ``execute(_:data:)``.
    public func firmwareLog() async throws(NVMeError) -> FirmwareLog {
        let data = try await logPage(FirmwareLog.identifier, byteCount: FirmwareLog.byteCount)
        return try checked(FirmwareLog(data: data))
    }

    private func checked<Page>(_ page: Page?) throws(NVMeError) -> Page {
        guard let page else { throw NVMeError(.protocolViolation, device: name, "a log page is too short") }
        return page
    }
}
