import CLinux
import SystemPackage

/// Transfers without a detour: on this thread, before the call returns.
///
/// The kernel's ring hands what it cannot try without blocking to threads of its own. For data in memory that detour
/// takes longer than the copy.
extension Ring {
    /// Reads from `offset` (bytes) into `memory`: pread(2). Blocks as long as the system takes.
    ///
    /// - Returns: the number of bytes, or a negative errno; nil where there is no system to ask (simulation).
    package final func readNow(_ file: RingFile, at offset: Int64, into memory: IOMemory) -> Int? {
        if features.engine == .simulation { return nil }
        // SAFETY: the memory belongs to the caller's operation, which waits for this call.
        return unsafe Int(clinux_read_now(file.descriptor.rawValue, memory.base, memory.byteCount, offset))
    }

    /// Writes `memory` to `offset` (bytes): pwrite(2). Blocks and answers as `readNow` does.
    package final func writeNow(_ file: RingFile, at offset: Int64, from memory: IOMemory) -> Int? {
        if features.engine == .simulation { return nil }
        // SAFETY: as above.
        return unsafe Int(clinux_write_now(file.descriptor.rawValue, memory.base, memory.byteCount, offset))
    }

    /// Reads into the pieces of `vectors`: preadv(2).
    package final func readNow(_ file: RingFile, at offset: Int64, into vectors: IOVectorList) -> Int? {
        if features.engine == .simulation { return nil }
        // SAFETY: as above; the list has `count` entries.
        return unsafe Int(
            clinux_read_segments_now(file.descriptor.rawValue, vectors.address, Int32(vectors.count), offset))
    }

    /// Writes the pieces of `vectors`: pwritev(2).
    package final func writeNow(_ file: RingFile, at offset: Int64, from vectors: IOVectorList) -> Int? {
        if features.engine == .simulation { return nil }
        // SAFETY: as above; the list has `count` entries.
        return unsafe Int(
            clinux_write_segments_now(file.descriptor.rawValue, vectors.address, Int32(vectors.count), offset))
    }
}
