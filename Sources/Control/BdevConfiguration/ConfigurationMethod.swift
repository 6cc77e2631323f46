public import Bdev

/// A method that a configuration, or a JSON-RPC client, can call by its name.
///
/// Decoding and doing are apart, so that every mistake of a document is found before anything of it is done.
public protocol ConfigurationMethod: Sendable {
    associatedtype Parameters: Sendable
    /// Its name, such as `bdev_null_create`.
    var name: String { get }
    /// Takes the parameters out of `reader`, which refuses the rest afterwards.
    func decode(_ reader: inout ParameterReader) throws(ConfigurationError) -> Parameters
    /// Does it. When it throws, it leaves nothing behind.
    func apply(_ parameters: Parameters, to engine: BdevEngine) async throws(BdevError) -> ConfigurationOutcome
}

/// What a method has done.
public struct ConfigurationOutcome: Sendable {
    /// What a JSON-RPC client is answered.
    public var result: JSONValue
    /// Takes back what was done; nil when there is nothing to take back. Called at most once, with nobody using the
    /// result yet.
    public var undo: (@Sendable () async -> Void)?
    /// Something the user should know, in a sentence.
    public var notice: String?

    public init(result: JSONValue = .bool(true), notice: String? = nil, undo: (@Sendable () async -> Void)? = nil) {
        self.result = result
        self.notice = notice
        self.undo = undo
    }

    /// A bdev was made.
    public static func created(_ name: String, on engine: BdevEngine) -> ConfigurationOutcome {
        ConfigurationOutcome(result: .string(name)) {
            // Only fails when the bdev is gone or going, which is what is wanted.
            try? await engine.remove(name)
        }
    }
}

/// The methods that configurations may call.
public struct ConfigurationRegistry: Sendable {
    private var methods: [String: any ConfigurationMethod] = [:]

    /// Without any method.
    public init() {}

    /// Adds a method. Traps when there is one of its name.
    public mutating func add(_ method: some ConfigurationMethod) {
        precondition(methods[method.name] == nil, "there is a method named '\(method.name)' already")
        methods[method.name] = method
    }

    /// The names of all methods, sorted.
    public var names: [String] { methods.keys.sorted() }

    // MARK: Calling

    /// Decodes a call without doing anything.
    ///
    /// - Throws: `unknownMethod` and what decoding throws.
    public func prepare(_ call: ConfigurationDocument.Call) throws(ConfigurationError) -> PreparedCall {
        guard let method = methods[call.method] else {
            throw ConfigurationError(
                .unknownMethod, path: "\(call.path).method", "there is no method \"\(call.method)\"",
                advice: "there are \(names.joined(separator: ", "))")
        }
        return try PreparedCall(method, call)
    }

    /// Calls every method of `document`, in order, after all of them have been decoded. When one fails, what those
    /// before it did is taken back, newest first.
    ///
    /// - Returns: what the user should know: subsystems that were not read, and notices of methods.
    /// - Throws: the first mistake, with its place in the document.
    public func apply(_ document: ConfigurationDocument, to engine: BdevEngine) async throws(ConfigurationError)
        -> [String]
    {
        do throws(ConfigurationError) {
            return try await run(document, engine)
        } catch {
            var located = error
            located.file = document.file
            throw located
        }
    }

    private func run(_ document: ConfigurationDocument, _ engine: BdevEngine) async throws(ConfigurationError)
        -> [String]
    {
        var notices: [String] = []
        if !document.ignoredSubsystems.isEmpty {
            notices.append(
                "ignored the subsystems \(document.ignoredSubsystems.joined(separator: ", ")): only bdev is read")
        }
        var prepared: [PreparedCall] = []
        for call in document.calls { prepared.append(try prepare(call)) }
        var done: [ConfigurationOutcome] = []
        for call in prepared {
            do throws(ConfigurationError) {
                let outcome = try await call.perform(on: engine)
                if let notice = outcome.notice { notices.append(notice) }
                done.append(outcome)
            } catch {
                for outcome in done.reversed() { await outcome.undo?() }
                throw error
            }
        }
        return notices
    }
}

/// A call whose parameters are decoded and make sense.
public struct PreparedCall: Sendable {
    private let path: String
    private let body: @Sendable (BdevEngine) async throws(BdevError) -> ConfigurationOutcome

    fileprivate init(_ method: some ConfigurationMethod, _ call: ConfigurationDocument.Call) throws(ConfigurationError)
    {
        var reader = ParameterReader(call.parameters, path: "\(call.path).params")
        let parameters = try method.decode(&reader)
        try reader.finish()
        path = call.path
        body = { engine async throws(BdevError) in try await method.apply(parameters, to: engine) }
    }

    /// - Throws: `failed`, with the engine's error in it.
    public func perform(on engine: BdevEngine) async throws(ConfigurationError) -> ConfigurationOutcome {
        do throws(BdevError) {
            return try await body(engine)
        } catch {
            throw ConfigurationError(.failed, path: path, error.description, cause: error)
        }
    }
}
