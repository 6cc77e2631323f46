import NVMeDriver
import Testing

@Suite("A log page")
struct LogPageTests {
    private func page(_ count: Int, _ values: [(offset: Int, bytes: [UInt8])]) -> [UInt8] {
        var data = [UInt8](repeating: 0, count: count)
        for (offset, bytes) in values { data.replaceSubrange(offset..<offset + bytes.count, with: bytes) }
        return data
    }

    @Test func `of health says what the specification places where`() throws {
        let data = page(
            512,
            [
                (0, [4]), (1, [0x43, 0x01]), (3, [99, 10, 3]), (32, [1, 2]), (47, [0x80]), (144, [7]),
                (192, [5, 0, 0, 0, 6]), (202, [0x2C, 0x01]),
            ])
        let health = try #require(HealthLog(data: data))
        #expect(health.criticalWarning == 4)
        #expect(health.temperature == 323)
        #expect(health.availableSpare == 99 && health.availableSpareThreshold == 10 && health.percentageUsed == 3)
        #expect(health.dataUnitsRead == 0x201 + (0x80 as UInt128) << 120)
        #expect(health.unsafeShutdowns == 7)
        #expect(health.warningTemperatureMinutes == 5 && health.criticalTemperatureMinutes == 6)
        #expect(health.temperatureSensors == [2: 300])
    }

    @Test func `that is too short is none`() {
        #expect(HealthLog(data: page(511, [])) == nil)
        #expect(FirmwareLog(data: page(511, [])) == nil)
        #expect(HealthLog(data: []) == nil)
        #expect(ErrorLogEntry.entries(data: page(63, [(0, [1])])).isEmpty)
    }

    @Test func `of errors leaves out entries that are not used`() throws {
        let data = page(
            200,
            [
                (0, [9]), (8, [2, 0, 5, 0, 0x05, 0x80]), (14, [0x28, 0x03]), (16, [0xFF]), (24, [1]),
                (128, [8]), (136, [0xFF, 0xFF, 0xFF, 0xFF]), (142, [0xFF, 0xFF]), (192, [1]),
            ])
        let entries = ErrorLogEntry.entries(data: data)
        #expect(entries.map(\.count) == [9, 8])
        let first = try #require(entries.first), last = try #require(entries.last)
        #expect(first.queueID == 2 && first.commandIdentifier == 5)
        #expect(first.status.matches(.invalidField) && first.status.doesNotRetry)
        #expect(first.parameterByte == 0x28 && first.parameterBit == 3)
        #expect(first.block == 255 && first.namespaceID == 1)
        #expect(last.queueID == nil && last.commandIdentifier == nil && last.parameterByte == nil)
    }

    @Test func `of firmware names the slots that hold some`() throws {
        let firmware = try #require(
            FirmwareLog(data: page(512, [(0, [0x21]), (8, Array("1.0     ".utf8)), (24, Array("2.0b".utf8))])))
        #expect(firmware.activeSlot == 1)
        #expect(firmware.nextSlot == 2)
        #expect(firmware.revisions == [1: "1.0", 3: "2.0b"])
        let other = try #require(FirmwareLog(data: page(512, [(0, [0x01])])))
        #expect(other.nextSlot == nil)
    }
}
