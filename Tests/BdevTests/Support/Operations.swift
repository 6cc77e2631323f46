import Bdev
import Reactors

extension BdevChannel {
    /// A buffer with these bytes in it.
    func buffer(_ content: [UInt8]) throws(BdevError) -> IOBuffer {
        var buffer = try allocateBuffer(byteCount: content.count)
        var bytes = buffer.mutableBytes
        unsafe bytes.withUnsafeMutableBytes { target in
            unsafe content.withUnsafeBytes { unsafe target.copyMemory(from: $0) }
        }
        return buffer
    }

    func compare(_ content: [UInt8], at block: UInt64) async throws(BdevError) {
        let buffer = try buffer(content)
        try await compare(buffer, at: .block(block))
    }

    func write(_ content: [UInt8], at block: UInt64) async throws(BdevError) {
        let buffer = try buffer(content)
        try await write(from: buffer, at: .block(block))
    }

    func swap(_ expected: [UInt8], for new: [UInt8], at block: UInt64) async throws(BdevError) {
        let first = try buffer(expected), second = try buffer(new)
        try await compareAndWrite(first, second, at: .block(block))
    }

    func read(at block: UInt64, count: Int) async throws(BdevError) -> [UInt8] {
        var buffer = try allocateBuffer(byteCount: count * engine.blockByteCount)
        try await read(at: .block(block), into: &buffer)
        return buffer.array
    }

    func copy(_ count: UInt64, from source: UInt64, to target: UInt64) async throws(BdevError) {
        try await copy(from: .block(source), to: .block(target), count: .blocks(count))
    }

    /// Does an I/O of `type`, with zeros where it needs data; what went wrong.
    func attempt(
        _ type: IOType, at block: UInt64, count: UInt64 = 1, source: UInt64 = 0
    ) async -> BdevError.Code? {
        await code { () throws(BdevError) in
            let zeros = Array(repeating: UInt8(0), count: Int(count) * engine.blockByteCount)
            let (offset, length) = (BdevOffset.block(block), BdevLength.blocks(count))
            switch type {
            case .read: _ = try await read(at: block, count: Int(count))
            case .write: try await write(zeros, at: block)
            case .unmap: try await unmap(at: offset, count: length)
            case .writeZeroes: try await writeZeroes(at: offset, count: length)
            case .flush: try await flush()
            case .reset: try await reset()
            case .compare: try await compare(zeros, at: block)
            case .compareAndWrite: try await swap(zeros, for: zeros, at: block)
            case .copy: try await copy(count, from: source, to: block)
            case .seekData: _ = try await nextData(from: offset)
            case .seekHole: _ = try await nextHole(from: offset)
            case .writeUncorrectable: try await writeUncorrectable(at: offset, count: length)
            default: preconditionFailure("no test does \(type) this way")
            }
        }
    }
}
