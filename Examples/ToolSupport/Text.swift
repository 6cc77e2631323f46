/// A number of bytes: digits with or without one of the suffixes k, M, G, T, in either case, which count by 1,024;
/// `KiB` and the like mean the same.
package func byteCount(_ text: String, for option: String) throws(UsageError) -> UInt64 {
    let digits = text.prefix { $0.isASCII && $0.isNumber }
    var suffix = text.dropFirst(digits.count).lowercased()
    if suffix.hasSuffix("ib") && suffix.count == 3 { suffix.removeLast(2) } else if suffix == "b" { suffix = "" }
    let powers: [String: Int] = ["": 0, "k": 10, "m": 20, "g": 30, "t": 40]
    guard let power = powers[suffix], let number = UInt64(digits) else {
        throw UsageError(
            "\(option) '\(text)' is no size; write a number with or without k, M, G or T, such as 4096, 4k or 1G")
    }
    let (bytes, overflow) = number.multipliedReportingOverflow(by: 1 << power)
    if overflow { throw UsageError("\(option) '\(text)' is too big; sizes are below 2^64 bytes") }
    return bytes
}

/// A size for people: the biggest unit that divides it.
package func sizeText(_ bytes: UInt64) -> String {
    for (unit, power) in [("TiB", 40), ("GiB", 30), ("MiB", 20), ("KiB", 10)]
    where bytes > 0 && bytes % (1 << power) == 0 {
        return "\(bytes >> power) \(unit)"
    }
    return "\(bytes) bytes"
}

/// `value` with `places` digits after the point.
package func fixed(_ value: Double, _ places: Int = 2) -> String {
    guard value.isFinite, abs(value) < 1e15 else { return "\(value)" }
    var scale = 1.0
    for _ in 0..<places { scale *= 10 }
    let scaled = UInt64((abs(value) * scale).rounded())
    let sign = value < 0 && scaled > 0 ? "-" : ""
    if places == 0 { return "\(sign)\(scaled)" }
    let digits = String(scaled)
    let padded = String(repeating: "0", count: max(0, places + 1 - digits.count)) + digits
    return "\(sign)\(padded.dropLast(places)).\(padded.suffix(places))"
}

/// `0x1b36`: at least `width` digits.
package func hex(_ value: some BinaryInteger, _ width: Int = 1) -> String {
    let digits = String(value, radix: 16)
    return "0x" + String(repeating: "0", count: max(0, width - digits.count)) + digits
}

extension String {
    package func leftPadded(_ width: Int) -> String {
        String(repeating: " ", count: Swift.max(0, width - count)) + self
    }
    package func rightPadded(_ width: Int) -> String {
        self + String(repeating: " ", count: Swift.max(0, width - count))
    }
}

extension Duration {
    package init(seconds: Double) { self = .nanoseconds(Int64((seconds * 1e9).rounded())) }

    package var seconds: Double {
        let (whole, atto) = components
        return Double(whole) + Double(atto) / 1e18
    }
}
