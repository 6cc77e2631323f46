/// Requests that a module keeps, first in, first out. Never allocates: the requests are linked through themselves.
@safe public struct RequestQueue: ~Copyable {
    private var slots = SlotQueue()

    public init() {}

    deinit { precondition(slots.isEmpty, "a module dropped a queue with requests in it") }

    public var isEmpty: Bool { slots.isEmpty }

    // SAFETY (both): a request owns its slot; the queue takes that over and hands it on.

    public mutating func append(_ request: consuming IORequest) { unsafe slots.append(request.relinquish()) }

    public mutating func popFirst() -> IORequest? {
        guard let slot = unsafe slots.popFirst() else { return nil }
        return unsafe IORequest(slot)
    }
}

extension IORequest {
    /// Gives up the slot without completing it.
    consuming func relinquish() -> Slot {
        let slot = unsafe slot
        discard self
        return unsafe slot
    }
}
