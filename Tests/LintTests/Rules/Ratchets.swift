/// What is allowed to be worse than the rules, by name and at its present size.
/// Entries shrink and go; none is added to get a change through.
enum Ratchets {
    /// Files of Sources longer than `Limits.file`, in lines.
    static let fileLength: [String: Int] = [:]

    /// Functions longer than `Limits.function`, in lines, as `path: name`.
    static let functionLength: [String: Int] = [:]

    /// How many lines of a file are longer than `Limits.line`.
    static let longLines: [String: Int] = [:]

    /// How many lines of `unsafe` of a file have no reason above them.
    static let unjustifiedUnsafeLines: [String: Int] = [:]
}

enum Limits {
    /// A file of Sources, in lines. A longer one needs an entry in `Ratchets.fileLength`.
    static let file = 300
    /// Any file, in lines.
    static let longestFile = 800
    /// A function, from its `func` to its closing brace, in lines.
    static let function = 70
    /// A line, in characters.
    static let line = 120
}
