import CLinux
import Glibc
import SystemPackage

/// Holds a core for one reactor on this machine, so that two processes do not poll on the same core unknowingly.
///
/// An advisory lock on `/var/tmp/swift_bdev_cpu_lock_NNN`. The kernel releases it with the process, however that ends.
/// A second lock of the same core in the same process is refused too.
public final class CoreLock: Sendable {
    /// Where the files lie unless said otherwise.
    public static let standardDirectory = "/var/tmp"

    public let core: Int
    private let path: String
    private let file: FileDescriptor

    /// Takes the lock of `core`.
    ///
    /// - Throws: ``ReactorError/Code/coreInUse`` naming the process that holds it, or the owner of a file this user may
    ///   not open;
    ///   ``ReactorError/Code/resourceExhausted`` when the file cannot be made.
    public init(core: Int, directory: String = standardDirectory) throws(ReactorError) {
        self.core = core
        let digits = String(core)
        path = "\(directory)/swift_bdev_cpu_lock_\(String(repeating: "0", count: max(0, 3 - digits.count)))\(digits)"
        file = try Self.lock(path, core)
        let text = "\(getpid())\n"
        // Only the message of a refused second instance needs it: a full disk does not stop a reactor.
        _ = try? file.resize(to: 0)
        _ = try? file.writeAll(toAbsoluteOffset: 0, text.utf8)
    }

    deinit {
        // Named away while still locked: whoever opens the name from here on makes a file of their own.
        // SAFETY: a string the call reads.
        _ = unsafe unlink(path)
        try? file.close()
    }

    private static func lock(_ path: String, _ core: Int) throws(ReactorError) -> FileDescriptor {
        while true {
            let file = try open(path, core)
            let result = clinux_try_lock(file.rawValue)
            // The last holder may have taken the name away between our open and our lock: then it protects nothing.
            // SAFETY: a string the call reads.
            if result == 0, unsafe clinux_is_file_at(file.rawValue, path) { return file }
            let holder = result == 0 ? nil : SystemTree.contents(path).flatMap { Int32($0) }
            try? file.close()
            if result == 0 { continue }
            if result != -EWOULDBLOCK { throw cannotLock(path, core, Errno(rawValue: -result)) }
            throw inUse(core, path, by: holder)
        }
    }

    private static func inUse(_ core: Int, _ path: String, by holder: Int32?) -> ReactorError {
        let who =
            switch holder {
            case nil: "another process (\(path))"
            case getpid(): "another reactor group of this process (pid \(getpid()))"
            case let pid?: "process \(pid)"
            }
        return ReactorError(
            .coreInUse, "core \(core) has a reactor of \(who)",
            advice: "choose another core, stop the other one, or turn core locks off")
    }

    private static func open(_ path: String, _ core: Int) throws(ReactorError) -> FileDescriptor {
        let name = FilePath(path)
        do {
            while true {
                // Not created in the same call: in a sticky directory the kernel refuses that for another user's file,
                // to root as well.
                if let file = try openUnless(
                    .noSuchFileOrDirectory, { try .open(name, .readWrite, options: [.closeOnExec, .noFollow]) })
                {
                    return file
                }
                let made = try openUnless(.fileExists) {
                    try .open(
                        name, .readWrite, options: [.create, .exclusiveCreate, .closeOnExec, .noFollow],
                        permissions: [.ownerRead, .ownerWrite])
                }
                if let made { return made }
            }
        } catch {
            // SAFETY: a string the call reads.
            let owner = unsafe clinux_owner_of(path)
            throw error == .permissionDenied && owner >= 0 ? foreign(path, core, owner) : cannotLock(path, core, error)
        }
    }

    /// nil when the system answers `expected`.
    private static func openUnless(_ expected: Errno, _ open: () throws -> FileDescriptor) throws(Errno)
        -> FileDescriptor?
    {
        do {
            return try open()
        } catch {
            let error = error as? Errno ?? .ioError
            if error == expected { return nil }
            throw error
        }
    }

    private static func foreign(_ path: String, _ core: Int, _ owner: Int64) -> ReactorError {
        ReactorError(
            .coreInUse, "the lock of core \(core), \(path), belongs to user \(userName(owner))",
            cause: .permissionDenied,
            advice:
                "choose another core, run as that user, remove the file if it is stale, or turn core locks off"
        )
    }

    private static func cannotLock(_ path: String, _ core: Int, _ cause: Errno) -> ReactorError {
        ReactorError(
            .resourceExhausted, "cannot lock core \(core) at \(path)", cause: cause,
            advice: "make the directory writable for this user, or turn core locks off")
    }

    /// From /etc/passwd itself: getpwuid(3) loads libraries, which a statically linked executable cannot.
    private static func userName(_ id: Int64) -> String {
        for line in (SystemTree.contents("/etc/passwd", limit: 1 << 20) ?? "").split(separator: "\n") {
            let fields = line.split(separator: ":", omittingEmptySubsequences: false)
            if fields.count > 2, Int64(fields[2]) == id { return "\(fields[0]) (\(id))" }
        }
        return "\(id)"
    }
}
