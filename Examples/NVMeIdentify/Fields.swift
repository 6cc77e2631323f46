import ToolSupport

/// One thing that a controller says of itself: under which key programs find it, and what people read.
struct Field {
    let key: String
    let label: String
    let value: JSON
    let text: String

    private init(_ key: String, _ label: String, _ value: JSON, _ text: String) {
        self.key = key
        self.label = label
        self.value = value
        self.text = text
    }

    static func text(_ key: String, _ label: String, _ value: String) -> Field {
        Field(key, label, .string(value), value)
    }

    /// Bytes that name something, as hexadecimal digits; nil: there are none.
    static func name(_ key: String, _ label: String, _ bytes: [UInt8]?) -> Field {
        let digits = bytes.map { $0.map { String(hex($0, 2).dropFirst(2)) }.joined() }
        return Field(key, label, JSON(digits), digits ?? "-")
    }

    /// `shown`: for people, where that differs from the number.
    static func number(_ key: String, _ label: String, _ value: some BinaryInteger, _ shown: String? = nil) -> Field {
        Field(key, label, JSON(value), shown ?? "\(value)")
    }

    static func bits(_ key: String, _ label: String, _ value: some BinaryInteger) -> Field {
        Field(key, label, JSON(value), hex(value))
    }

    /// A number that there may be none of.
    static func optional(
        _ key: String, _ label: String, _ value: (some BinaryInteger)?, none: String, unit: String = ""
    ) -> Field {
        Field(key, label, value.map { JSON($0) } ?? .null, value.map { "\($0)\(unit)" } ?? none)
    }

    static func flag(_ key: String, _ label: String, _ value: Bool) -> Field {
        Field(key, label, .boolean(value), value ? "yes" : "no")
    }

    /// In kelvin; 0: not said.
    static func temperature(_ key: String, _ label: String, _ kelvin: UInt16) -> Field {
        Field(key, label, kelvin == 0 ? .null : JSON(kelvin), kelvin == 0 ? "-" : "\(Int(kelvin) - 273) °C")
    }
}

/// What belongs together.
struct Section {
    let key: String
    let title: String
    var fields: [Field]

    var json: JSON { .object(fields.map { (key: $0.key, value: $0.value) }) }

    var text: String {
        let width = fields.map(\.label.count).max() ?? 0
        return title + "\n"
            + fields.map { "  " + $0.label.rightPadded(width) + "  " + $0.text + "\n" }.joined()
    }
}
