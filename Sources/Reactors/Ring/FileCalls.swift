import CLinux
import SystemPackage

/// System calls about files that take addresses, wrapped for code that has none.
enum FileCalls {
    typealias Information = clinux_file_info

    struct OpenOptions: OptionSet {
        let rawValue: UInt32
        static let write = OpenOptions(rawValue: CLINUX_OPEN_WRITE.rawValue)
        static let create = OpenOptions(rawValue: CLINUX_OPEN_CREATE.rawValue)
        static let direct = OpenOptions(rawValue: CLINUX_OPEN_DIRECT.rawValue)
        static let exclusive = OpenOptions(rawValue: CLINUX_OPEN_EXCLUSIVE.rawValue)
    }

    // SAFETY for all of this file: strings and variables are lent for the time of one call.

    /// open(2), close-on-exec.
    static func open(_ path: String, _ options: OpenOptions) throws(Errno) -> FileDescriptor {
        // SAFETY: a string the call reads.
        let result = unsafe clinux_file_open(path, options.rawValue)
        try check(result)
        return FileDescriptor(rawValue: result)
    }

    static func identify(_ file: FileDescriptor) throws(Errno) -> Information {
        var information = clinux_file_info()
        // SAFETY: see above.
        try check(unsafe clinux_file_identify(file.rawValue, &information))
        return information
    }

    /// Without opening it: what kind it is and where.
    static func identify(_ path: String) throws(Errno) -> Information {
        var information = clinux_file_info()
        // SAFETY: see above.
        try check(unsafe clinux_path_identify(path, &information))
        return information
    }

    /// Goes through the page cache from here on.
    static func stopDirect(_ file: FileDescriptor) throws(Errno) { try check(clinux_file_stop_direct(file.rawValue)) }

    /// unlink(2).
    static func remove(_ path: String) throws(Errno) { try check(unsafe clinux_file_remove(path)) }

    /// ftruncate(2).
    static func resize(_ file: FileDescriptor, byteCount: Int64) throws(Errno) {
        try check(clinux_file_resize(file.rawValue, byteCount))
    }

    /// flock(2), without waiting.
    static func lock(_ file: FileDescriptor, exclusive: Bool) throws(Errno) {
        try check(clinux_file_lock(file.rawValue, exclusive))
    }

    /// What a block device carries, by libblkid's name for it; nil: nothing known.
    static func signature(_ file: FileDescriptor) throws(Errno) -> String? {
        // SAFETY: see above.
        try unsafe name { buffer, count in unsafe clinux_blkid_signature(file.rawValue, buffer, count) }
    }

    /// Some entry of a directory; nil: it is empty, or cannot be read.
    static func entry(ofDirectory path: String) -> String? {
        // SAFETY: see above.
        try? unsafe name { buffer, count in unsafe clinux_directory_entry(path, buffer, count) }
    }

    private static func name(
        _ call: (UnsafeMutablePointer<CChar>, Int) -> Int32
    ) throws(Errno) -> String? {
        var result: Int32 = 0
        // SAFETY: the call writes at most the buffer's size, with a zero at the end.
        let text = unsafe withUnsafeTemporaryAllocation(of: CChar.self, capacity: 256) { buffer -> String? in
            unsafe buffer.initialize(repeating: 0)
            result = unsafe call(buffer.baseAddress!, buffer.count)
            return result > 0 ? unsafe String(cString: buffer.baseAddress!) : nil
        }
        try check(result)
        return text
    }

    /// A small file of procfs or sysfs; nil: it cannot be read.
    static func text(at path: String, limit: Int = 1 << 20) -> String? {
        var length: Int64 = 0
        // SAFETY: at most the array's capacity is written.
        let bytes = unsafe [CChar](unsafeUninitializedCapacity: limit) { buffer, count in
            length = unsafe clinux_file_read(path, buffer.baseAddress!, buffer.count)
            count = max(0, Int(length))
        }
        if length < 0 { return nil }
        return String(decoding: bytes.map { UInt8(bitPattern: $0) }, as: UTF8.self)
    }

    /// The whole number a file of procfs or sysfs holds.
    static func integer(at path: String) -> Int64? {
        guard let text = text(at: path, limit: 64) else { return nil }
        return Int64(text.prefix { $0 == "-" || $0.isNumber })
    }

    private static func check(_ result: Int32) throws(Errno) {
        if result < 0 { throw Errno(rawValue: -result) }
    }
}
