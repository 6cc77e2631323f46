public import Reactors

// SAFETY (below): a request's memory is its own until it is completed.

extension IORequest {
    /// All of the request's memory.
    package var segments: Segments { unsafe Segments(of: slot) }

    /// The metadata of a bdev that keeps it apart; nil when the request has none.
    package var metadataMemory: IOMemory? {
        unsafe slot.pointee.hasExtras && slot.pointee.extras.metadata.count > 0 ? slot.pointee.extras.metadata[0] : nil
    }

    /// Copies the data, of all segments one after another, to the start of `buffer`. Traps when it does not fit.
    public func copyData(into buffer: inout IOBuffer) {
        let target = buffer.memory
        var offset = 0
        for index in 0..<segmentCount {
            let segment = memory(index)
            target.slice(from: offset, count: segment.byteCount).copy(from: segment)
            offset += segment.byteCount
        }
    }

    /// Inverts `bits` of one byte of the data, `offset` bytes from its start. Nothing happens behind its end.
    package func invert(_ bits: UInt8, ofByte offset: UInt64) {
        var offset = offset
        for index in 0..<segmentCount {
            let segment = memory(index)
            if offset < UInt64(segment.byteCount) {
                let place = unsafe segment.base + Int(offset)
                unsafe place.storeBytes(of: place.load(as: UInt8.self) ^ bits, as: UInt8.self)
                return
            }
            offset -= UInt64(segment.byteCount)
        }
    }
}
