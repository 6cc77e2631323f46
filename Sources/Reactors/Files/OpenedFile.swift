import CLinux
import SystemPackage

/// A descriptor that has passed every check, on its way into a ``BlockFile``. Closed if a later check fails.
struct OpenedFile {
    let descriptor: FileDescriptor
    let information: FileCalls.Information
    let isDirect: Bool

    init(_ path: String, _ options: BlockFile.Options) throws(FileError) {
        precondition(options.createdByteCount ?? 1 > 0, "a file is made with a size above 0")
        precondition(options.createdByteCount == nil || !options.isReadOnly, "a read-only file is not made")
        let kind = try Self.look(at: path, options)
        if kind?.is_block_device == true, !options.isReadOnly, !options.ignoresSignatures {
            try DeviceSafety.requireNoSignature(path)
        }
        let (descriptor, wantsDirect) = try Self.open(path, options, kind)
        do {
            (isDirect, information) = try Self.prepare(descriptor, path, options, wantsDirect)
            self.descriptor = descriptor
        } catch {
            try? descriptor.close()
            if kind == nil { try? FileCalls.remove(path) }
            throw error
        }
    }

    /// What the path leads to, without side effects such as those of opening a FIFO for writing; nil: nothing, and it
    /// is to be made.
    private static func look(at path: String, _ options: BlockFile.Options) throws(FileError) -> FileCalls.Information?
    {
        do throws(Errno) {
            let information = try FileCalls.identify(path)
            if information.is_regular || information.is_block_device { return information }
        } catch {
            if error == .noSuchFileOrDirectory, options.createdByteCount != nil { return nil }
            throw .opening(path, error, isReadOnly: options.isReadOnly)
        }
        throw FileError(
            .wrongKind, path, "is neither a regular file nor a block device", advice: "give one of the two")
    }

    private static func open(
        _ path: String, _ options: BlockFile.Options, _ known: FileCalls.Information?
    ) throws(FileError) -> (FileDescriptor, isDirect: Bool) {
        var flags: FileCalls.OpenOptions = []
        if !options.isReadOnly { flags.insert(.write) }
        if known == nil { flags.formUnion([.create, .exclusive]) }
        if known?.is_block_device == true, !options.isReadOnly { flags.insert(.exclusive) }
        do throws(Errno) {
            if options.usesDirectIO {
                do throws(Errno) {
                    return (try FileCalls.open(path, flags.union(.direct)), true)
                } catch {
                    // The file system has no direct I/O. With O_CREAT the file may have been made all the same.
                    if error != .invalidArgument { throw error }
                    if known == nil { try? FileCalls.remove(path) }
                }
            }
            return (try FileCalls.open(path, flags), false)
        } catch {
            if error == .resourceBusy, let known { throw DeviceSafety.inUse(path, known) }
            throw .opening(path, error, isReadOnly: options.isReadOnly)
        }
    }

    /// Locks, sizes and identifies it.
    private static func prepare(
        _ descriptor: FileDescriptor, _ path: String, _ options: BlockFile.Options, _ wantsDirect: Bool
    ) throws(FileError) -> (isDirect: Bool, information: FileCalls.Information) {
        var information = try identify(descriptor, path)
        try lock(descriptor, path, information, exclusive: !options.isReadOnly)
        if let wanted = options.createdByteCount, information.byte_count < wanted {
            if information.is_block_device {
                throw FileError(
                    .wrongSize, path,
                    "the device has \(information.byte_count) bytes, fewer than the \(wanted) asked for",
                    advice: "leave the size out to use the whole device")
            }
            do {
                try FileCalls.resize(descriptor, byteCount: wanted)
            } catch {
                throw FileError(
                    .noSpace, path, "cannot be made \(wanted) bytes long", cause: error,
                    advice: "ask for less, or use another file system")
            }
            information = try identify(descriptor, path)
        }
        if information.byte_count == 0 {
            throw FileError(.wrongSize, path, "is empty", advice: "give it a size")
        }
        if !wantsDirect || !information.refuses_direct { return (wantsDirect, information) }
        // It took the flag, but says that direct I/O is not possible.
        do {
            try FileCalls.stopDirect(descriptor)
        } catch {
            throw FileError(
                .system, path, "cannot be read through the page cache", cause: error, advice: "check the device")
        }
        return (false, information)
    }

    private static func identify(
        _ descriptor: FileDescriptor, _ path: String
    ) throws(FileError) -> FileCalls.Information {
        do {
            return try FileCalls.identify(descriptor)
        } catch {
            throw FileError(.system, path, "cannot be identified", cause: error, advice: "check the device")
        }
    }

    private static func lock(
        _ descriptor: FileDescriptor, _ path: String, _ information: FileCalls.Information, exclusive: Bool
    ) throws(FileError) {
        do {
            try FileCalls.lock(descriptor, exclusive: exclusive)
        } catch {
            if error != .wouldBlock {
                throw FileError(
                    .system, path, "cannot be locked", cause: error, advice: "use a file system that has locks")
            }
            let holder = FileLocks.holder(of: information).map { "by \($0)" } ?? "by another process"
            throw FileError(
                .locked, path, "is open \(holder)",
                advice: exclusive ? "end it, or open the file read-only in both" : "end it, or have it read only")
        }
    }
}
