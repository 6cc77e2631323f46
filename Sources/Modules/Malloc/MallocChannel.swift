import Bdev
import Reactors

/// One reactor's way to the memory of a plain disk. Everything completes inside the submit. The memory lives as long as
/// this channel.
final class MallocChannel: BdevModuleChannel {
    private let region: MemoryRegion
    private let store: MallocStore

    init(_ store: MallocStore) {
        region = store.data
        self.store = store
    }

    override func submit(_ request: consuming IORequest) {
        switch request.type {
        case .read: copyOut(request)
        case .write: copyIn(request)
        default:
            let status = performOther(request)
            return request.complete(status)
        }
        request.complete()
    }

    @inline(__always)
    private func copyOut(_ request: borrowing IORequest) {
        var offset = Int(request.byteOffset)
        for index in 0..<request.segmentCount {
            let target = request.memory(index)
            target.copy(from: region.memory(from: offset, count: target.byteCount))
            offset += target.byteCount
        }
    }

    @inline(__always)
    private func copyIn(_ request: borrowing IORequest) {
        var offset = Int(request.byteOffset)
        for index in 0..<request.segmentCount {
            let source = request.memory(index)
            region.memory(from: offset, count: source.byteCount).copy(from: source)
            offset += source.byteCount
        }
    }

    @inline(never)
    private func performOther(_ request: borrowing IORequest) -> IOStatus {
        let (start, count) = (request.startBlock, request.blockCount)
        switch request.type {
        case .unmap, .writeZeroes: store.zero(start, count)
        case .flush, .reset: break
        case .compare: return store.compare(request)
        case .copy:
            do throws(ProtectionFailure) { try store.copy(from: request.sourceBlock, to: start, count) } catch {
                return error.ioStatus
            }
        case .zeroCopy: if request.zeroCopyPhase.isStart { request.lend(store.data(start, count)) }
        default: return .notSupported
        }
        return .success
    }
}

/// As ``MallocChannel``, for blocks with protection information, or with metadata of their own place.
///
/// What is written is checked before it is taken, and what is read when it has been copied out. Where the metadata is
/// apart, an I/O may come without: a write gets protection information made here, and a read is checked against what is
/// kept. Without protection the metadata stays as it is then.
final class ProtectedMallocChannel: BdevModuleChannel {
    private let store: MallocStore

    init(_ store: MallocStore) { self.store = store }

    override func submit(_ request: consuming IORequest) {
        let status: IOStatus
        do throws(ProtectionFailure) { status = try perform(request) } catch { status = error.ioStatus }
        request.complete(status)
    }

    private func perform(_ request: borrowing IORequest) throws(ProtectionFailure) -> IOStatus {
        let (start, count) = (request.startBlock, request.blockCount)
        switch request.type {
        case .read: try read(request)
        case .write: try write(request)
        case .unmap, .writeZeroes: store.zero(start, count)
        case .flush, .reset: break
        case .compare: return store.compare(request)
        case .copy: try store.copy(from: request.sourceBlock, to: start, count)
        case .zeroCopy: try lend(request)
        default: return .notSupported
        }
        return .success
    }

    private func read(_ request: borrowing IORequest) throws(ProtectionFailure) {
        var left = store.data(request.startBlock, request.blockCount)
        for index in 0..<request.segmentCount {
            let target = request.memory(index)
            target.copy(from: left.slice(from: 0, count: target.byteCount))
            left = left.slice(from: target.byteCount, count: left.byteCount - target.byteCount)
        }
        let kept = store.metadata(request.startBlock, request.blockCount)
        if let kept { request.metadataMemory?.copy(from: kept) }
        try store.protection?.verify(request, metadata: kept == nil ? nil : request.metadataMemory ?? kept)
    }

    private func write(_ request: borrowing IORequest) throws(ProtectionFailure) {
        let (start, count) = (request.startBlock, request.blockCount)
        let kept = store.metadata(start, count), given = request.metadataMemory
        if kept == nil || given != nil { try store.protection?.verify(request, metadata: given) }
        var left = store.data(start, count)
        for index in 0..<request.segmentCount {
            let source = request.memory(index)
            left.copy(from: source)
            left = left.slice(from: source.byteCount, count: left.byteCount - source.byteCount)
        }
        guard let kept else { return }
        if let given { kept.copy(from: given) } else { store.protect(start, count) }
    }

    /// What lies on the disk itself is lent. Interleaved protection information is the borrower's to make, and is
    /// checked when he commits it, though it is on the disk by then; that which is apart is made here.
    private func lend(_ request: borrowing IORequest) throws(ProtectionFailure) {
        let (start, count) = (request.startBlock, request.blockCount)
        let isApart = store.metadata(start, count) != nil
        switch request.zeroCopyPhase {
        case .startPopulated: try store.verify(start, count)
        case .start: break
        case .commit where !isApart: return try store.verify(start, count)
        case .end, .commit:
            // Also what is not committed has been written in place.
            if isApart { store.protect(start, count) }
            return
        }
        request.lend(store.data(start, count))
    }
}

extension MallocStore {
    fileprivate func compare(_ request: borrowing IORequest) -> IOStatus {
        var left = data(request.startBlock, request.blockCount)
        for index in 0..<request.segmentCount {
            let expected = request.memory(index)
            if !left.slice(from: 0, count: expected.byteCount).contentEquals(expected) { return IOStatus(.miscompare) }
            left = left.slice(from: expected.byteCount, count: left.byteCount - expected.byteCount)
        }
        return .success
    }
}

extension ZeroCopyPhase {
    fileprivate var isStart: Bool { self == .start || self == .startPopulated }
}
