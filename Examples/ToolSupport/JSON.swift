/// A value of JSON, its members in the order they were given.
package enum JSON: ExpressibleByStringLiteral, ExpressibleByBooleanLiteral, ExpressibleByArrayLiteral,
    ExpressibleByNilLiteral, ExpressibleByDictionaryLiteral
{
    case null
    case boolean(Bool)
    /// As it is printed.
    case number(String)
    case string(String)
    case array([JSON])
    case object([(key: String, value: JSON)])

    package init(stringLiteral value: String) { self = .string(value) }
    package init(booleanLiteral value: Bool) { self = .boolean(value) }
    package init(arrayLiteral elements: JSON...) { self = .array(elements) }
    package init(nilLiteral: ()) { self = .null }
    package init(dictionaryLiteral elements: (String, JSON)...) {
        self = .object(elements.map { (key: $0.0, value: $0.1) })
    }

    package init(_ value: some BinaryInteger) { self = .number("\(value)") }
    package init(_ value: String?) { self = value.map { .string($0) } ?? .null }

    /// Each member of an object on a line of its own, as far down as `depth`; what lies deeper on one line.
    package func text(depth: Int = .max, indentation: String = "") -> String {
        let inner = indentation + "  "
        func lines(_ parts: [String], _ open: String, _ close: String) -> String {
            if parts.isEmpty { return open + close }
            if depth <= 0 { return open + parts.joined(separator: ", ") + close }
            return "\(open)\n\(inner)" + parts.joined(separator: ",\n\(inner)") + "\n\(indentation)\(close)"
        }
        switch self {
        case .null: return "null"
        case .boolean(let value): return value ? "true" : "false"
        case .number(let text): return text
        case .string(let text): return Self.quoted(text)
        case .array(let values):
            return lines(values.map { $0.text(depth: depth - 1, indentation: inner) }, "[", "]")
        case .object(let members):
            let parts = members.map {
                "\(Self.quoted($0.key)): \($0.value.text(depth: depth - 1, indentation: inner))"
            }
            return lines(parts, "{", "}")
        }
    }

    private static func quoted(_ text: String) -> String {
        var result = "\""
        for scalar in text.unicodeScalars {
            switch scalar {
            case "\"": result += "\\\""
            case "\\": result += "\\\\"
            case _ where scalar.value < 0x20:
                let digits = String(scalar.value, radix: 16)
                result += "\\u" + String(repeating: "0", count: 4 - digits.count) + digits
            default: result.unicodeScalars.append(scalar)
            }
        }
        return result + "\""
    }
}
