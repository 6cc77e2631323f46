import Bdev
import NVMeBdev
import NVMeDriver

/// `bdev_nvme_send_cmd`: any command, as 64 bytes; the answer is its completion and what the controller sent. Bytes are
/// in base 64 with the alphabet for URLs.
struct NVMeSendCommand: ConfigurationMethod {
    struct Parameters: Sendable {
        var controller: String
        var queues: NVMeController.QueueKind
        var command: NVMeCommand
        var data: [UInt8] = []
        var readByteCount = 0
    }

    let name = "bdev_nvme_send_cmd"
    let module: NVMeModule

    func decode(_ reader: inout ParameterReader) throws(ConfigurationError) -> Parameters {
        let controller = try reader.requiredString("name"), queues = try NVMeController.QueueKind(&reader)
        let isRead = try reader.requiredChoice("data_direction", [("c2h", true), ("h2c", false)])
        let bytes = try reader.requiredBytes("cmdbuf")
        if bytes.count != 64 {
            throw reader.error(.outOfRange, "cmdbuf", "a command has 64 bytes, not \(bytes.count)", advice: "send all")
        }
        var command = NVMeCommand(opcode: bytes[0])
        for index in 0..<16 {
            command.words[index] = (0..<4).reduce(0) { $0 | UInt32(bytes[4 * index + $1]) << UInt32(8 * $1) }
        }
        // The identifier is the driver's to choose, and so is where the data is.
        command.words[0] &= 0xFFFF
        for index in 6...9 { command.words[index] = 0 }
        var result = Parameters(controller: controller, queues: queues, command: command)
        let length = Int(try reader.integer("data_len", in: 0...(1 << 24)) ?? 0)
        if isRead { result.readByteCount = length }
        if try reader.string("data") != nil {
            if isRead {
                throw reader.error(
                    .notSupported, "data", "nothing is sent with a command that reads", advice: "use h2c")
            }
            result.data = try reader.requiredBytes("data")
        }
        let reason = "metadata cannot be sent or read by hand: use a bdev"
        try reader.only("metadata", .null, because: reason)
        try reader.only("metadata_len", .unsigned(0), because: reason)
        // Commands have the time limits of the module's options.
        reader.accept("timeout_ms")
        return result
    }

    func apply(_ parameters: Parameters, to engine: BdevEngine) async throws(BdevError) -> ConfigurationOutcome {
        let reply = try await module.send(
            parameters.command, to: parameters.queues, data: parameters.data,
            readByteCount: parameters.readByteCount, of: parameters.controller)
        var entry = Array(repeating: UInt8(0), count: 16)
        for index in 0..<8 { entry[index] = UInt8(truncatingIfNeeded: reply.completion.result >> UInt64(8 * index)) }
        // Behind the phase bit.
        let status = reply.completion.status.rawValue << 1
        entry[14] = UInt8(truncatingIfNeeded: status)
        entry[15] = UInt8(truncatingIfNeeded: status >> 8)
        var result: [String: JSONValue] = ["cpl": .string(Base64.text(of: entry))]
        if !reply.data.isEmpty { result["data"] = .string(Base64.text(of: reply.data)) }
        return ConfigurationOutcome(result: .object(result))
    }
}

extension ParameterReader {
    fileprivate mutating func requiredBytes(_ key: String) throws(ConfigurationError) -> [UInt8] {
        let text = try requiredString(key)
        if let bytes = Base64.bytes(of: text) { return bytes }
        throw error(.outOfRange, key, "this is not base 64", advice: "use A to Z, a to z, 0 to 9, - and _")
    }
}

/// RFC 4648, section 5; the alphabet of section 4 is understood, too.
private enum Base64 {
    private static let digits = Array("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_".utf8)

    static func text(of bytes: [UInt8]) -> String {
        var text: [UInt8] = []
        for start in stride(from: 0, to: bytes.count, by: 3) {
            let part = bytes[start..<min(start + 3, bytes.count)]
            let word = part.reduce(UInt32(0)) { $0 << 8 | UInt32($1) } << UInt32(8 * (3 - part.count))
            for place in 0..<4 {
                text.append(place <= part.count ? digits[Int(word >> UInt32(18 - 6 * place) & 63)] : UInt8(ascii: "="))
            }
        }
        return String(decoding: text, as: UTF8.self)
    }

    static func bytes(of text: String) -> [UInt8]? {
        var bytes: [UInt8] = [], word: UInt32 = 0, bitCount: UInt32 = 0
        var digits = Array(text.utf8)
        while digits.last == UInt8(ascii: "=") { digits.removeLast() }
        if digits.count % 4 == 1 { return nil }
        for digit in digits {
            let known =
                digit == UInt8(ascii: "+") ? UInt8(ascii: "-") : digit == UInt8(ascii: "/") ? UInt8(ascii: "_") : digit
            guard let value = Self.digits.firstIndex(of: known) else { return nil }
            word = word << 6 | UInt32(value)
            bitCount += 6
            if bitCount >= 8 {
                bitCount -= 8
                bytes.append(UInt8(truncatingIfNeeded: word >> bitCount))
            }
        }
        return bytes
    }
}
