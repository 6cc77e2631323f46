import FoundationEssentials

/// A JSON value. Whole numbers keep all 64 bits.
public enum JSONValue: Sendable, Hashable {
    case null
    case bool(Bool)
    /// A whole number from 0 to 2^64 - 1.
    case unsigned(UInt64)
    /// A whole number below 0.
    case negative(Int64)
    /// Any other number.
    case double(Double)
    case string(String)
    case array([JSONValue])
    case object([String: JSONValue])

    /// Parses a document in UTF-8, as RFC 8259 says. Of equal keys of one object the last one counts.
    ///
    /// - Throws: ``ConfigurationError`` with the line and column of the first mistake.
    public init(parsing bytes: some Sequence<UInt8>) throws(ConfigurationError) {
        do {
            self = try JSONDecoder().decode(JSONValue.self, from: Data(bytes))
        } catch {
            throw ConfigurationError(.syntax, path: "", "not valid JSON: \(Self.reason(error))", advice: "correct the document")
        }
    }

    /// Where the decoder's scanner stopped, without the names of its types.
    private static func reason(_ error: any Error) -> String {
        guard case DecodingError.dataCorrupted(let context) = error else { return "\(error)" }
        guard let cause = context.underlyingError as? CocoaError,
            let text = cause.userInfo["NSDebugDescription"] as? String
        else { return context.debugDescription }
        return text.last == "." ? String(text.dropLast()) : text
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

extension JSONValue: Decodable {
    public init(from decoder: any Decoder) throws {
        let container = try decoder.singleValueContainer()
        if container.decodeNil() {
            self = .null
        } else if let value = try? container.decode(Bool.self) {
            self = .bool(value)
        } else if let value = try? container.decode(UInt64.self) {
            self = .unsigned(value)
        } else if let value = try? container.decode(Int64.self) {
            self = .negative(value)
        } else if let value = try? container.decode(Double.self) {
            self = .double(value)
        } else if let value = try? container.decode(String.self) {
            self = .string(value)
        } else if let value = try? container.decode([JSONValue].self) {
            self = .array(value)
        } else {
            self = .object(try container.decode([String: JSONValue].self))
        }
    }
}
