// SAFETY (below): a request owns its slot; the queue takes that over and hands it on.

/// Requests that a module keeps, first in, first out. Never allocates: the requests are linked through themselves.
@safe public final class RequestQueue {
    private var slots = SlotQueue()

    public init() {}

    deinit { precondition(slots.isEmpty, "a module dropped a queue with requests in it") }

    public var isEmpty: Bool { slots.isEmpty }

    public func append(_ request: consuming IORequest) { unsafe slots.append(request.relinquish()) }

    public func popFirst() -> IORequest? {
        guard let slot = unsafe slots.popFirst() else { return nil }
        return unsafe IORequest(slot)
    }

    /// Takes over everything that is in `other`, in its order, which must be into an empty queue.
    public func takeAll(from other: RequestQueue) {
        precondition(slots.isEmpty, "requests are taken over into an empty queue")
        slots = other.slots
        other.slots = SlotQueue()
    }
}

extension IORequest {
    /// Gives up the slot without completing it.
    @inline(__always)
    consuming func relinquish() -> Slot {
        let slot = unsafe slot
        discard self
        return unsafe slot
    }
}
