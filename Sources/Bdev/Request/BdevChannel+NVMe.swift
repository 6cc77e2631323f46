public import Reactors

// SAFETY (below): the slot is this call's until it is given back; buffers are borrowed until then.

/// Commands of the device's own, handed on as they are. All need a descriptor opened for writing, for the layer does
/// not look into them; ranges that somebody has to himself hold I/O commands up whatever they touch.
extension BdevChannel {
    /// Which queue a command is for.
    public enum NVMeQueue: Sendable, Hashable {
        case admin
        case io
    }

    /// Has the device carry out a command.
    ///
    /// - Parameters:
    ///   - command: without a command identifier and data pointers, which the driver fills in.
    ///   - queue: which of the device's queues it goes to.
    ///   - data: what the command reads from or writes to, whichever it does; nil: it moves no data.
    ///   - metadata: the same for metadata.
    /// - Returns: the command's own result: double words 0 (low) and 1 of its completion.
    /// - Throws: `notSupported` unless the bdev can; `deviceFailed` with the NVMe status; `BdevError`.
    public func perform(
        _ command: NVMeCommand, on queue: NVMeQueue, data: inout IOBuffer?, metadata: inout IOBuffer?
    ) async throws(BdevError) -> UInt64 {
        let hasMetadata = metadata != nil
        let type: IOType = queue == .admin ? .nvmeAdmin : hasMetadata ? .nvmeIOWithMetadata : .nvmeIO
        let slot = unsafe try await prepare(type, .block(0), .blocks(0))
        if let memory = IOBuffer.memory(of: data) {
            unsafe slot.pointee.memory = memory
            unsafe slot.pointee.segmentCount = 1
        }
        if let memory = IOBuffer.memory(of: metadata) { unsafe slot.pointee.extras.metadata = Segments(memory) }
        unsafe slot.pointee.extras.command = command
        return unsafe try await finishOther(slot)
    }

    /// Resets the whole NVMe subsystem: every controller of it, whoever uses them. Allowed on a read-only descriptor.
    ///
    /// - Throws: `notSupported` unless the bdev can; `BdevError`.
    public func resetSubsystem() async throws(BdevError) {
        unsafe try await finishOther(prepare(.nvmeSubsystemReset, .block(0), .blocks(0)))
    }
}
