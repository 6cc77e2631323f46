import Bdev
import Reactors

/// One request on its way through a ring, kept by its queue and used again.
final class UringOperation {
    /// Its place in its queue: what the ring calls it.
    let index: Int
    /// nil: the operation is free.
    var token: RequestToken?
    var type = IOType.read
    /// In bytes.
    var offset: Int64 = 0
    /// Bytes to move; 0 for what moves none.
    var byteCount = 0
    /// Bytes a zeroing or unmapping covers; 0 for a transfer.
    var rangeByteCount: Int64 = 0
    /// Bytes moved by now.
    var done = 0
    /// Of an operation with one segment.
    var memory: IOMemory?
    /// Of one with several. Made when first needed, used again.
    var vectors: IOVectorList?
    var isInFlight = false
    /// The system has moved part of a block only, once.
    var hasStalled = false
    /// Zeroes by punching a hole.
    var isHole = false

    init(index: Int) { self.index = index }

    func fill(_ request: consuming IORequest) {
        let (requestType, count) = (request.type, Int64(request.byteCount))
        let isTransfer = requestType == .read || requestType == .write
        type = requestType
        offset = Int64(request.byteOffset)
        byteCount = isTransfer ? Int(count) : 0
        rangeByteCount = isTransfer ? 0 : count
        done = 0
        hasStalled = false
        memory = request.segmentCount == 1 ? request.memory(0) : nil
        token = request.detach()
    }

    /// The most one system call is asked to move: the kernel's own limit is 2 GiB less a page.
    static let transferLimit = 1 << 30

    /// What is left of the only segment, as far as one call takes it.
    var rest: IOMemory? {
        guard let memory else { return nil }
        if done == 0, byteCount <= Self.transferLimit { return memory }
        return memory.slice(from: done, count: min(byteCount - done, Self.transferLimit))
    }

    /// What is left of several segments, as far as one call takes them.
    func gather(from requests: RequestTable) -> IOVectorList {
        let request = requests.request(token!)
        let list = vectors(for: request.segmentCount)
        list.removeAll()
        var skip = done
        for index in 0..<request.segmentCount {
            let segment = request.memory(index)
            if skip >= segment.byteCount {
                skip -= segment.byteCount
                continue
            }
            if list.byteCount >= Self.transferLimit
                || !list.append(segment.slice(from: skip, count: segment.byteCount - skip))
            {
                break
            }
            skip = 0
        }
        token = request.detach()
        return list
    }

    private func vectors(for count: Int) -> IOVectorList {
        let capacity = min(max(count, 64), 1024)
        if let vectors, vectors.capacity >= capacity { return vectors }
        let made = IOVectorList(capacity: capacity)
        vectors = made
        return made
    }
}
