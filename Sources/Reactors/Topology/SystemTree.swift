import Glibc
import SystemPackage

/// Small text files and links below a root directory: `/`, or a recorded copy of another machine's `/sys`.
package struct SystemTree: Sendable {
    /// Without a slash at its end; empty for the machine itself.
    package let root: String

    package init(root: String) {
        var trimmed = root
        while trimmed.hasSuffix("/") { trimmed.removeLast() }
        self.root = trimmed
    }

    package var isThisMachine: Bool { root.isEmpty }

    package func path(_ relative: String) -> String { "\(root)/\(relative)" }

    /// The contents without the white space around it; nil when there is no such file or it cannot be read.
    package func text(_ relative: String) -> String? { Self.contents(path(relative)) }

    /// At most `limit` bytes of the file at `path`, without the white space around it.
    package static func contents(_ path: String, limit: Int = 65536) -> String? {
        guard let read = try? bytes(path, limit: limit) else { return nil }
        let isSpace: (UInt8) -> Bool = { $0 == 0x20 || $0 == 0x0A || $0 == 0x09 || $0 == 0 }
        let body = read.drop(while: isSpace)
        guard let last = body.lastIndex(where: { !isSpace($0) }) else { return "" }
        return String(decoding: body[...last], as: UTF8.self)
    }

    /// The file at `path`, or a little more than `limit` bytes of it.
    package static func bytes(_ path: String, limit: Int) throws -> [UInt8] {
        let file = try FileDescriptor.open(FilePath(path), .readOnly, options: .closeOnExec)
        return try file.closeAfter {
            var bytes: [UInt8] = []
            var count = 0
            repeat {
                // SAFETY: the read fills the buffer it is given and says how far.
                let chunk = unsafe try [UInt8](unsafeUninitializedCapacity: 4096) { buffer, count in
                    count = unsafe try file.read(into: UnsafeMutableRawBufferPointer(buffer))
                }
                count = chunk.count
                bytes += chunk
            } while count > 0 && bytes.count < limit
            return bytes
        }
    }

    /// A whole decimal number; nil when the file is missing or says anything else.
    package func number(_ relative: String) -> Int? { text(relative).flatMap { Int($0) } }

    /// The names in a directory in no order; empty when there is none.
    package func names(_ relative: String) -> [String] {
        // SAFETY: the stream is used and closed in this function; an entry is read before the next call replaces it.
        guard let directory = unsafe opendir(path(relative)) else { return [] }
        defer { unsafe closedir(directory) }
        var names: [String] = []
        while let entry = unsafe readdir(directory) {
            let name = unsafe withUnsafePointer(to: &entry.pointee.d_name) { field in
                unsafe field.withMemoryRebound(to: CChar.self, capacity: 256) { unsafe String(cString: $0) }
            }
            if name != "." && name != ".." { names.append(name) }
        }
        return names
    }

    /// The absolute path with all links followed; nil when there is nothing.
    package func resolved(_ relative: String) -> String? {
        // SAFETY: realpath(3) allocates the result, which is copied and freed.
        guard let real = unsafe realpath(path(relative), nil) else { return nil }
        defer { unsafe free(real) }
        return unsafe String(cString: real)
    }
}

/// The kernel's list format: `0-3,8`. An empty text is an empty list; nil when it has no meaning.
func parseKernelList(_ text: String) -> [Int]? {
    if text.isEmpty { return [] }
    var numbers: [Int] = []
    for part in text.split(separator: ",", omittingEmptySubsequences: false) {
        let ends = part.split(separator: "-", maxSplits: 1, omittingEmptySubsequences: false).map { Int($0) }
        guard let first = ends[0], let last = ends.count == 2 ? ends[1] : first else { return nil }
        if first < 0 || last < first || last > CoreList.highestCore { return nil }
        numbers += first...last
    }
    return numbers
}

/// `0-3,8` for sorted numbers: how cores are named in messages.
func rangeText(_ numbers: [Int]) -> String {
    var parts: [String] = []
    var index = 0
    while index < numbers.count {
        var end = index
        while end + 1 < numbers.count && numbers[end + 1] == numbers[end] + 1 { end += 1 }
        parts.append(end == index ? "\(numbers[index])" : "\(numbers[index])-\(numbers[end])")
        index = end + 1
    }
    return parts.joined(separator: ",")
}
