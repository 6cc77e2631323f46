import CLinux
package import SystemPackage

/// An open file or block device, with what is known of it. Immutable: any thread may use it. Closed when the last
/// reference goes.
///
/// It is locked with flock(2), exclusively by a writer and shared by readers, so that two processes of this kind do
/// not write one file unknowingly. A writer also claims a block device from the kernel (O_EXCL): it cannot be mounted
/// as long as this is open.
package final class BlockFile: Sendable {
    package struct Options: Sendable {
        package var isReadOnly = false
        /// Past the page cache, where the file system allows it.
        package var usesDirectIO = true
        /// A regular file that is missing is made, and one that is shorter is extended, to this many bytes. A longer
        /// one stays as it is.
        package var createdByteCount: Int64?
        /// Opens a block device for writing though it carries a file system or the like. One that is mounted stays
        /// refused.
        package var ignoresSignatures = false

        package init() {}
    }

    package enum Kind: Sendable { case regularFile, blockDevice }

    package let path: String
    package let descriptor: FileDescriptor
    package let kind: Kind
    package let isReadOnly: Bool
    /// O_DIRECT is in force. False although asked for: the file system refused, which is worth a notice.
    package let isDirect: Bool
    /// When it was opened; see ``currentByteCount()``.
    package let byteCount: Int64
    /// The least unit a device reads and writes, in bytes; 512 for a regular file.
    package let logicalBlockByteCount: Int
    /// What a device writes at once without reading first, in bytes; a regular file's file-system block.
    package let physicalBlockByteCount: Int
    /// What addresses in memory must be a multiple of for direct I/O, in bytes.
    package let memoryAlignment: Int
    /// What offsets and lengths must be a multiple of for direct I/O, in bytes.
    package let offsetAlignment: Int
    /// The queue behind it.
    package let queue: BlockQueue
    /// The NUMA node the device, or the device a regular file is on, is attached to. Nil: none, or the machine does
    /// not say.
    package let node: Int?

    /// - Throws: `FileError` when it does not exist, may not be opened, is no file or device, is locked or in use, or
    ///   carries data.
    package init(path: String, options: Options = Options()) throws(FileError) {
        let opened = try OpenedFile(path, options)
        let information = opened.information
        self.path = path
        descriptor = opened.descriptor
        kind = information.is_block_device ? .blockDevice : .regularFile
        isReadOnly = options.isReadOnly
        isDirect = opened.isDirect
        byteCount = information.byte_count
        logicalBlockByteCount = Int(information.logical_block)
        physicalBlockByteCount = Int(information.physical_block)
        // A kernel before 6.1 does not tell: the logical block has always been enough.
        func alignment(_ told: UInt32) -> Int {
            if !opened.isDirect { return 1 }
            return Int(told > 0 ? told : information.logical_block)
        }
        memoryAlignment = alignment(information.direct_memory_alignment)
        offsetAlignment = alignment(information.direct_offset_alignment)
        queue = BlockQueue(information)
        node = DeviceTree.node(major: information.major, minor: information.minor)
    }

    deinit { try? descriptor.close() }

    /// Its size now, in bytes: devices and files may be resized under an open descriptor. One system call.
    package func currentByteCount() throws(FileError) -> Int64 {
        do {
            return try FileCalls.identify(descriptor).byte_count
        } catch {
            throw FileError(.system, path, "its size cannot be read", cause: error, advice: "check the device")
        }
    }
}

/// What a device can do beside reading and writing; of a regular file, what its file system may.
package struct BlockQueue: Sendable, Hashable {
    /// Ranges can be given back: BLKDISCARD, or a hole punched in a regular file.
    package let canDiscard: Bool
    /// Bytes; smaller ranges are rounded inwards or ignored.
    package let discardGranularity: Int
    /// The device zeroes ranges by itself. False: the kernel writes the zeros.
    package let canWriteZeroes: Bool

    init(_ information: FileCalls.Information) {
        if !information.is_block_device {
            (canDiscard, canWriteZeroes) = (true, true)
            discardGranularity = Int(information.physical_block)
            return
        }
        let queue = DeviceTree.queue(major: information.major, minor: information.minor)
        canDiscard = (FileCalls.integer(at: "\(queue)/discard_max_bytes") ?? 0) > 0
        discardGranularity = Int(FileCalls.integer(at: "\(queue)/discard_granularity") ?? 0)
        canWriteZeroes = (FileCalls.integer(at: "\(queue)/write_zeroes_max_bytes") ?? 0) > 0
    }
}
