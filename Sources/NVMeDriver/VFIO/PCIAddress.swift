/// Where a PCI function is: domain, bus, device and function.
public struct PCIAddress: Hashable, Comparable, Sendable, LosslessStringConvertible {
    /// The segment; above 65,535 behind Intel's volume management device.
    public let domain: UInt32
    public let bus: UInt8
    /// 0 to 31.
    public let device: UInt8
    /// 0 to 7.
    public let function: UInt8

    /// Reads `0000:3b:00.0` and its shorter forms: without the domain (`3b:00.0`), without the function (`0000:3b:00`),
    /// without both (`3b:00`); in the forms that do not end with a bare device, dots may stand for the colons. Leading
    /// zeros do not matter. Nil: it is none of these, or a number is too large.
    public init?(_ text: String) {
        var numbers: [UInt32] = []
        var separators = ""
        for part in text.split(omittingEmptySubsequences: false, whereSeparator: { $0 == ":" || $0 == "." }) {
            // UInt32 would take a sign.
            guard let first = part.first, first.isHexDigit, let number = UInt32(part, radix: 16) else { return nil }
            numbers.append(number)
        }
        for character in text where character == ":" || character == "." { separators.append(character) }
        switch separators {
        case "::.", "...": break
        case "::": numbers.append(0)
        case ":.", "..": numbers.insert(0, at: 0)
        case ":", ".": numbers = [0] + numbers + [0]
        default: return nil
        }
        if numbers[1] > 0xFF || numbers[2] > 0x1F || numbers[3] > 7 { return nil }
        domain = numbers[0]
        bus = UInt8(numbers[1])
        device = UInt8(numbers[2])
        function = UInt8(numbers[3])
    }

    /// As sysfs and `lspci -D` have it: `0000:3b:00.0`.
    public var description: String {
        "\(Self.hex(domain, 4)):\(Self.hex(UInt32(bus), 2)):\(Self.hex(UInt32(device), 2)).\(function)"
    }

    private static func hex(_ value: UInt32, _ width: Int) -> String {
        let digits = String(value, radix: 16)
        return String(repeating: "0", count: max(0, width - digits.count)) + digits
    }

    public static func < (left: PCIAddress, right: PCIAddress) -> Bool {
        (left.domain, left.bus, left.device, left.function) < (right.domain, right.bus, right.device, right.function)
    }
}
