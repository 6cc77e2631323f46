public import Reactors

// SAFETY (below): both allocations live as long as the list; entries below `count` are initialized.

/// Several buffers, or parts of them, that one I/O reads into or writes from: a scatter-gather list.
///
/// It owns its buffers, in order. Its capacity is fixed, so that its memory never moves under a device.
@safe public struct IOBufferList: ~Copyable, @unchecked Sendable {
    private let buffers: UnsafeMutablePointer<IOBuffer>
    private let segments: UnsafeMutablePointer<IOMemory>
    /// The most buffers it holds.
    public let capacity: Int
    /// Buffers in it now.
    public private(set) var count = 0
    /// Bytes in the segments of all buffers.
    public private(set) var byteCount = 0

    /// - Parameter capacity: the most buffers it will hold, at least 1.
    public init(capacity: Int) {
        precondition(capacity > 0, "a buffer list has room for at least one buffer")
        self.capacity = capacity
        unsafe buffers = .allocate(capacity: capacity)
        unsafe segments = .allocate(capacity: capacity)
    }

    deinit {
        unsafe buffers.deinitialize(count: count)
        unsafe buffers.deallocate()
        unsafe segments.deallocate()
    }

    /// Adds a buffer, all of it or the part from `offset`, `length` bytes long. Traps when the list is full or the part
    /// lies outside.
    public mutating func append(_ buffer: consuming IOBuffer, from offset: Int = 0, length: Int? = nil) {
        precondition(count < capacity, "a buffer list of \(capacity) is full")
        let memory = buffer.memory
        let segment = memory.slice(from: offset, count: length ?? memory.byteCount - offset)
        precondition(segment.byteCount > 0, "a segment cannot be empty")
        unsafe (segments + count).initialize(to: segment)
        unsafe (buffers + count).initialize(to: buffer)
        byteCount += segment.byteCount
        count += 1
    }

    /// Takes the last buffer out again; nil when the list is empty.
    public mutating func popLast() -> IOBuffer? {
        if count == 0 { return nil }
        count -= 1
        byteCount -= unsafe segments[count].byteCount
        return unsafe (buffers + count).move()
    }

    /// Lends the buffer at `index`. Traps when there is none.
    public mutating func withBuffer<Result, Failure: Error>(
        _ index: Int, _ body: (inout IOBuffer) throws(Failure) -> Result
    ) throws(Failure) -> Result {
        precondition(index >= 0 && index < count, "a buffer list has no such buffer")
        return try unsafe body(&buffers[index])
    }

    /// A slot for one I/O over all segments, checked.
    func prepare(_ type: IOType, _ offset: BdevOffset, _ face: EngineChannel) throws(BdevError) -> Slot {
        unsafe try face.prepare(type, UnsafePointer(segments), count, byteCount: byteCount, offset)
    }
}
