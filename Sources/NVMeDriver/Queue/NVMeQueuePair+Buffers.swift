public import Reactors

// Commands that keep their buffers: nobody can free or touch one while the device may.
extension NVMeQueuePair {
    /// Gives a command and the buffer that its data is in, all of it. As ``submit(_:data:metadata:client:token:)``.
    ///
    /// True: the buffer is taken, and comes back when the command has ended, by
    /// ``NVMeClient/commandCompleted(token:_:data:metadata:)``. False: it is still the caller's.
    /// - Parameters:
    ///   - command: all but where the data is.
    ///   - buffer: of any pool; nil: the command has no data.
    ///   - client: one that was added here.
    ///   - token: comes back with the completion.
    @discardableResult
    public func submit(
        _ command: SubmissionQueueEntry, buffer: inout IOBuffer?, client: NVMeClient, token: UInt64
    ) -> Bool {
        let slot = takeSlot(command, client, token)
        if slot < 0 { return false }
        var error: DataPointerError?
        if let data = IOBuffer.memory(of: buffer) { error = pointers.set(data, for: slot, in: memory) }
        memory.keep(buffer.take(), nil, for: slot)
        return begin(slot, error)
    }

    /// The same, with metadata that lies apart from the data.
    @discardableResult
    public func submit(
        _ command: SubmissionQueueEntry, buffer: inout IOBuffer?, metadata: inout IOBuffer?, client: NVMeClient,
        token: UInt64
    ) -> Bool {
        let slot = takeSlot(command, client, token)
        if slot < 0 { return false }
        var error: DataPointerError?
        if let data = IOBuffer.memory(of: buffer) { error = pointers.set(data, for: slot, in: memory) }
        if error == nil, let apart = IOBuffer.memory(of: metadata) {
            error = pointers.setMetadata(apart, for: slot, in: memory)
        }
        memory.keep(buffer.take(), metadata.take(), for: slot)
        return begin(slot, error)
    }

    /// Always true: the command has been accepted.
    @inline(__always)
    private func begin(_ slot: Int, _ error: DataPointerError?) -> Bool {
        if let error { return fail(slot, error) }
        start(slot)
        return true
    }
}
