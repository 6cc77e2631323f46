import BdevConfiguration
import Testing

struct JSONTests {
    private func parse(_ text: String) throws(ConfigurationError) -> JSONValue {
        try JSONValue(parsing: Array(text.utf8))
    }

    @Test(arguments: [
        ("null", JSONValue.null), (" true ", .bool(true)), ("false", .bool(false)), ("0", .unsigned(0)),
        ("-0", .unsigned(0)),
        ("18446744073709551615", .unsigned(.max)), ("-9223372036854775808", .negative(.min)), ("1.5", .double(1.5)),
        ("1e3", .double(1000)), ("18446744073709551616", .double(18_446_744_073_709_551_616)), ("\"\"", .string("")),
        (#""a\"\\\/\b\f\n\r\t""#, .string("a\"\\/\u{8}\u{c}\n\r\t")), (#""\u00e9\ud83d\ude00""#, .string("é😀")),
        ("[]", .array([])),
        ("{}", .object([:])),
        (#"{"a":[1,{"b":null}]}"#, .object(["a": .array([.unsigned(1), .object(["b": .null])])])),
    ])
    func `a value is read as RFC 8259 says`(text: String, value: JSONValue) throws { #expect(try parse(text) == value) }

    @Test(arguments: [
        ("", "line 1, column 1", "the document ends"),
        ("{\"a\": 1,\n \"b\":}", "line 2, column 6", "'}' where a value is expected"),
        ("[1,]", "line 1, column 4", "']' where a value"), ("[1 2]", "line 1, column 4", "',' or ']'"),
        ("{\"a\":1,\"a\":2}", "line 1, column 8", "there twice"), ("01", "line 1, column 2", "begins with 0"),
        ("1.", "line 1, column 3", "ends where a digit"), ("\"é\n\"", "line 1, column 3", "control character"),
        ("\"abc", "line 1, column 1", "does not end"), (#""\x""#, "line 1, column 2", "escape"),
        (#""\ud800""#, "line 1, column 2", "surrogate"), ("nul", "line 1, column 1", "'n' where a value"),
        ("1 1", "line 1, column 3", "follows"),
        ("{a:1}", "line 1, column 2", "a key in double quotes"), (#""\u12g4""#, "line 1, column 4", "hexadecimal"),
        ("1e999", "line 1, column 1", "too big"), ("'a'", "line 1, column 1", "''' where a value"),
    ])
    func `a mistake is named with its line and column`(text: String, place: String, what: String) {
        let error = #expect(throws: ConfigurationError.self) { try parse(text) }
        #expect(error?.code == .syntax)
        #expect(error?.path == place)
        #expect(error?.message.contains(what) == true, "\(error?.message ?? "")")
    }

    @Test func `a string that is not UTF-8 is refused`() {
        #expect(throws: ConfigurationError.self) { try JSONValue(parsing: [0x22, 0xFF, 0x22]) }
    }

    @Test func `nesting has an end`() {
        let text = String(repeating: "[", count: 100_000)
        let error = #expect(throws: ConfigurationError.self) { try parse(text) }
        #expect(error?.message.contains("nested deeper") == true)
    }
}
