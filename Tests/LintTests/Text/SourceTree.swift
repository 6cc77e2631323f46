import Foundation

/// The files of this package that are checked.
enum SourceTree {
    /// The package's folder.
    static let root = URL(filePath: #filePath)
        .deletingLastPathComponent().deletingLastPathComponent().deletingLastPathComponent().deletingLastPathComponent()

    /// Every Swift and C file below the folders that hold code, and the manifests, by path.
    static let files: [SourceText] = {
        var paths = ["Package.swift"]
        for folder in ["Sources", "Tests", "Examples"] {
            let all = FileManager.default.enumerator(atPath: root.appending(path: folder).path)
            while let path = all?.nextObject() as? String {
                if path.split(separator: "/").contains(where: { $0.hasPrefix(".build") }) { continue }
                if [".swift", ".c", ".h"].contains(where: path.hasSuffix) { paths.append("\(folder)/\(path)") }
            }
        }
        return paths.sorted().compactMap(read)
    }()

    /// A file of any kind, by its path below the package's folder.
    static func text(of path: String) throws -> String {
        String(decoding: try Data(contentsOf: root.appending(path: path)), as: UTF8.self)
    }

    private static func read(_ path: String) -> SourceText? {
        guard let data = FileManager.default.contents(atPath: root.appending(path: path).path) else { return nil }
        return SourceText(path: path, text: String(decoding: data, as: UTF8.self))
    }
}
