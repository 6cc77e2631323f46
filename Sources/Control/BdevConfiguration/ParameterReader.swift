public import Bdev

/// The parameters of one call. Each is asked for once, by name and type; what nobody asked for is a mistake of the
/// document.
///
/// A `null` counts as not there.
public struct ParameterReader {
    private let values: [String: JSONValue]
    /// The place of the parameters in the document, such as `subsystems[0].config[2].params`.
    public let path: String
    private var known: [String] = []

    public init(_ values: [String: JSONValue], path: String) {
        self.values = values
        self.path = path
    }

    /// An error about the parameter `key`.
    public func error(
        _ code: ConfigurationError.Code, _ key: String, _ message: String, advice: String? = nil
    ) -> ConfigurationError {
        ConfigurationError(code, path: "\(path).\(key)", message, advice: advice)
    }

    private mutating func value(_ key: String) -> JSONValue? {
        if !known.contains(key) { known.append(key) }
        if case .null = values[key] { return nil }
        return values[key]
    }

    mutating func isMinusOne(_ key: String) -> Bool { value(key) == .negative(-1) }

    /// A parameter that is understood and does nothing, whatever it is.
    mutating func accept(_ key: String) { _ = value(key) }

    /// The parameters inside a parameter, to be read and finished as those of a call are.
    ///
    /// - Throws: `wrongType`.
    mutating func object(_ key: String) throws(ConfigurationError) -> ParameterReader? {
        guard let found = value(key) else { return nil }
        guard case .object(let values) = found else { throw wrong(key, "an object", found) }
        return ParameterReader(values, path: "\(path).\(key)")
    }

    private mutating func demand<Value>(_ key: String, _ value: Value?) throws(ConfigurationError) -> Value {
        if let value { return value }
        throw ConfigurationError(.missingKey, path: path, "the parameter \"\(key)\" is missing", advice: "add it")
    }

    private func wrong(_ key: String, _ wanted: String, _ found: JSONValue) -> ConfigurationError {
        error(.wrongType, key, "this must be \(wanted), not \(found.kind)")
    }

    // MARK: Types

    /// - Throws: `wrongType`.
    public mutating func string(_ key: String) throws(ConfigurationError) -> String? {
        guard let found = value(key) else { return nil }
        guard case .string(let text) = found else { throw wrong(key, "a string", found) }
        return text
    }

    /// A string that has to be there and not be empty.
    ///
    /// - Throws: `missingKey`, `wrongType`, `outOfRange`.
    public mutating func requiredString(_ key: String) throws(ConfigurationError) -> String {
        let text = try demand(key, try string(key))
        if text.isEmpty { throw error(.outOfRange, key, "this cannot be empty") }
        return text
    }

    /// A list of strings.
    ///
    /// - Throws: `wrongType`.
    public mutating func strings(_ key: String) throws(ConfigurationError) -> [String]? {
        guard let found = value(key) else { return nil }
        guard case .array(let values) = found else { throw wrong(key, "a list of strings", found) }
        var result: [String] = []
        for (index, value) in values.enumerated() {
            guard case .string(let text) = value else { throw wrong("\(key)[\(index)]", "a string", value) }
            result.append(text)
        }
        return result
    }

    /// A whole number.
    ///
    /// - Throws: `wrongType`; `outOfRange` when it is outside `range`.
    public mutating func integer(_ key: String, in range: ClosedRange<UInt64> = 0 ... .max) throws(ConfigurationError)
        -> UInt64?
    {
        guard let found = value(key) else { return nil }
        switch found {
        case .unsigned(let number) where range.contains(number): return number
        case .unsigned, .negative:
            throw error(.outOfRange, key, "this must be \(Self.text(range)), not \(found.kind)")
        default: throw wrong(key, "a whole number", found)
        }
    }

    /// A whole number that has to be there.
    ///
    /// - Throws: `missingKey`, `wrongType`, `outOfRange`.
    public mutating func requiredInteger(
        _ key: String, in range: ClosedRange<UInt64> = 0 ... .max
    ) throws(ConfigurationError) -> UInt64 {
        try demand(key, try integer(key, in: range))
    }

    /// - Throws: `wrongType`.
    public mutating func bool(_ key: String) throws(ConfigurationError) -> Bool? {
        guard let found = value(key) else { return nil }
        guard case .bool(let value) = found else { throw wrong(key, "true or false", found) }
        return value
    }

    /// One of several words that has to be there.
    ///
    /// - Throws: `missingKey`, `wrongType`; `outOfRange` for any other word.
    public mutating func requiredChoice<Choice>(
        _ key: String, _ choices: [(word: String, choice: Choice)]
    ) throws(ConfigurationError) -> Choice {
        let text = try requiredString(key)
        if let found = choices.first(where: { $0.word == text }) { return found.choice }
        throw error(
            .outOfRange, key, "\"\(text)\" is not possible",
            advice: "use one of \(choices.map(\.word).joined(separator: ", "))")
    }

    /// - Throws: `wrongType`; `outOfRange` when it is a string but no UUID.
    public mutating func uuid(_ key: String) throws(ConfigurationError) -> BdevUUID? {
        guard let text = try string(key) else { return nil }
        if let uuid = BdevUUID(text) { return uuid }
        throw error(
            .outOfRange, key, "\"\(text)\" is no UUID", advice: "write 8-4-4-4-12 hexadecimal digits, or leave it out")
    }

    /// A parameter that is understood but not offered: its default only.
    ///
    /// - Throws: `notSupported` for any other value.
    public mutating func only(_ key: String, _ allowed: JSONValue, because reason: String) throws(ConfigurationError) {
        guard let found = value(key), found != allowed else { return }
        throw error(.notSupported, key, "\(found.kind) is not supported: \(reason)", advice: "leave it out")
    }

    private static func text(_ range: ClosedRange<UInt64>) -> String {
        if range.upperBound == .max {
            return range.lowerBound == 0 ? "0 or more, below 2^64" : "\(range.lowerBound) or more"
        }
        return "\(range.lowerBound) to \(range.upperBound)"
    }

    // MARK: The end

    /// Asks for every parameter there is, of whatever type.
    mutating func acceptAll() { known = Array(values.keys) }

    /// Refuses what nobody asked for. Called after the last parameter.
    ///
    /// - Throws: `unknownKey`.
    public func finish() throws(ConfigurationError) {
        guard let key = values.keys.sorted().first(where: { !known.contains($0) }) else { return }
        throw error(
            .unknownKey, key, "the method has no such parameter",
            advice: known.isEmpty ? "it takes none" : "it takes \(known.joined(separator: ", "))")
    }
}
