public import Bdev

/// A JSON value. Whole numbers keep all 64 bits.
public enum JSONValue: Sendable, Hashable {
    case null
    case bool(Bool)
    /// A whole number from 0 to 2^64 - 1.
    case unsigned(UInt64)
    /// A whole number from -2^63 to -1.
    case negative(Int64)
    /// Any other number.
    case double(Double)
    case string(String)
    case array([JSONValue])
    case object([String: JSONValue])

    /// Parses a document in UTF-8, as RFC 8259 says; beyond that, no object has a key twice and nothing is nested
    /// deeper than 128.
    ///
    /// - Throws: ``ConfigurationError`` `syntax` with the line and column of the first mistake.
    public init(parsing bytes: some Sequence<UInt8>) throws(ConfigurationError) {
        var parser = JSONParser(Array(bytes))
        self = try parser.document()
    }

    /// What a driver says, as JSON has it.
    public init(_ value: DriverValue) {
        switch value {
        case .flag(let value): self = .bool(value)
        case .number(let value): self = .unsigned(value)
        case .text(let value): self = .string(value)
        case .list(let values): self = .array(values.map(JSONValue.init))
        case .fields(let values): self = .object(values.mapValues(JSONValue.init))
        }
    }

    /// What kind of value it is, for a sentence.
    var kind: String {
        switch self {
        case .null: "null"
        case .bool(let value): value ? "true" : "false"
        case .unsigned(let value): "the number \(value)"
        case .negative(let value): "the number \(value)"
        case .double(let value): "the number \(value)"
        case .string(let value): "the string \"\(value)\""
        case .array: "an array"
        case .object: "an object"
        }
    }
}
