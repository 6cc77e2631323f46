import FoundationEssentials

/// A configuration in SPDK's form:
/// `{"subsystems": [{"subsystem": "bdev", "config": [{"method": …, "params": {…}}]}]}`.
///
/// Only the subsystem `bdev` is read. Others, such as `accel` or `nvmf`, configure parts that are not here; their
/// names are in ``ignoredSubsystems`` and nothing of them is checked.
public struct ConfigurationDocument: Sendable {
    /// One method to be called.
    public struct Call: Sendable, Hashable {
        /// Its name, such as `bdev_null_create`.
        public let method: String
        public let parameters: [String: JSONValue]
        /// Its place in the document, such as `subsystems[0].config[2]`.
        public let path: String
    }

    /// In the order of the document.
    public let calls: [Call]
    /// The names of subsystems that were not read, each once, in the order of the document.
    public let ignoredSubsystems: [String]
    /// The file that it came from.
    public let file: String?

    /// Reads a file.
    ///
    /// - Throws: `unreadable` when the file is not there or may not be read, and as ``init(parsing:file:)``.
    public init(contentsOf file: String) throws(ConfigurationError) {
        let bytes: Data
        do {
            bytes = try Data(contentsOf: URL(filePath: file))
        } catch {
            throw Self.unreadable(file, error)
        }
        try self.init(parsing: bytes, file: file)
    }

    /// - Parameters:
    ///   - bytes: the document in UTF-8.
    ///   - file: for errors.
    /// - Throws: `syntax`, or `shape` when it is JSON but no configuration.
    public init(parsing bytes: some Sequence<UInt8>, file: String? = nil) throws(ConfigurationError) {
        do throws(ConfigurationError) {
            let reader = try Reader(JSONValue(parsing: bytes))
            calls = reader.calls
            ignoredSubsystems = reader.ignored
        } catch {
            var located = error
            located.file = file
            throw located
        }
        self.file = file
    }

    private static func unreadable(_ file: String, _ error: any Error) -> ConfigurationError {
        let (reason, advice) =
            switch (error as? CocoaError)?.code {
            case .fileReadNoSuchFile, .fileNoSuchFile: ("there is no such file", "check the path")
            case .fileReadNoPermission: ("permission denied", "make it readable for this user")
            default: ("it is no readable file", "name a file with a configuration in JSON")
            }
        var located = ConfigurationError(
            .unreadable, path: "", "cannot read the configuration: \(reason)", advice: advice)
        located.file = file
        return located
    }
}

/// Walks a document and collects its calls.
private struct Reader {
    var calls: [ConfigurationDocument.Call] = []
    var ignored: [String] = []

    static let form =
        "write {\"subsystems\": [{\"subsystem\": \"bdev\", \"config\": [{\"method\": …, \"params\": {…}}]}]}"

    init(_ document: JSONValue) throws(ConfigurationError) {
        guard case .object(let root) = document else {
            throw ConfigurationError(
                .shape, path: "", "a configuration is an object, not \(document.kind)", advice: Self.form)
        }
        try Self.refuseUnknown(root, ["subsystems"], "")
        guard case .array(let subsystems) = try Self.member("subsystems", root, "") else {
            throw Self.wrong("subsystems", "an array", root["subsystems"])
        }
        for (index, subsystem) in subsystems.enumerated() { try read(subsystem, "subsystems[\(index)]") }
    }

    private mutating func read(_ value: JSONValue, _ path: String) throws(ConfigurationError) {
        guard case .object(let subsystem) = value else { throw Self.wrong(path, "an object", value) }
        guard case .string(let name) = try Self.member("subsystem", subsystem, path) else {
            throw Self.wrong("\(path).subsystem", "a string", subsystem["subsystem"])
        }
        if name != "bdev" {
            if !ignored.contains(name) { ignored.append(name) }
            return
        }
        try Self.refuseUnknown(subsystem, ["subsystem", "config"], path)
        switch subsystem["config"] {
        case nil, .null: return
        case .array(let entries):
            for (index, entry) in entries.enumerated() { try readEntry(entry, "\(path).config[\(index)]") }
        case let other: throw Self.wrong("\(path).config", "an array", other)
        }
    }

    /// A call, or a batch of them.
    private mutating func readEntry(_ value: JSONValue, _ path: String) throws(ConfigurationError) {
        if case .array(let batch) = value {
            for (index, entry) in batch.enumerated() { try readCall(entry, "\(path)[\(index)]") }
        } else {
            try readCall(value, path)
        }
    }

    private mutating func readCall(_ value: JSONValue, _ path: String) throws(ConfigurationError) {
        guard case .object(let call) = value else { throw Self.wrong(path, "an object", value) }
        try Self.refuseUnknown(call, ["method", "params"], path)
        guard case .string(let method) = try Self.member("method", call, path) else {
            throw Self.wrong("\(path).method", "a string", call["method"])
        }
        switch call["params"] {
        case nil, .null: calls.append(.init(method: method, parameters: [:], path: path))
        case .object(let parameters): calls.append(.init(method: method, parameters: parameters, path: path))
        case let other: throw Self.wrong("\(path).params", "an object", other)
        }
    }

    private static func member(
        _ key: String, _ object: [String: JSONValue], _ path: String
    ) throws(ConfigurationError) -> JSONValue {
        if let value = object[key] { return value }
        throw ConfigurationError(.shape, path: path, "\"\(key)\" is missing", advice: form)
    }

    private static func refuseUnknown(
        _ object: [String: JSONValue], _ known: [String], _ path: String
    ) throws(ConfigurationError) {
        guard let key = object.keys.sorted().first(where: { !known.contains($0) }) else { return }
        throw ConfigurationError(
            .shape, path: path.isEmpty ? key : "\(path).\(key)", "this key has no meaning here",
            advice: "use \(known.joined(separator: " and "))")
    }

    private static func wrong(_ path: String, _ wanted: String, _ found: JSONValue?) -> ConfigurationError {
        ConfigurationError(.shape, path: path, "this must be \(wanted), not \(found?.kind ?? "nothing")", advice: form)
    }
}
