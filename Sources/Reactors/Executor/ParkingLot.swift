/// The actor a task hops to in order to wait. Its body runs when what the task waited for has happened.
@usableFromInline
@safe package actor ParkingLot {
    // SAFETY: the reactor owns the executor and this actor.
    @usableFromInline let reference: UnownedSerialExecutor

    @inlinable
    package nonisolated var unownedExecutor: UnownedSerialExecutor { unsafe reference }

    init(executor: some SerialExecutor) { unsafe reference = executor.asUnownedSerialExecutor() }

    /// Gives way. Inlined into whoever waits, so that it takes no frame of its own; the call inside keeps the optimizer
    /// from removing two hops with nothing in between.
    @inlinable
    @inline(__always)
    func giveWay() { markArrival() }

    #if ContinuationParking
    /// Waits until the spot that `expectParking(at:)` named is unparked. Whether what was waited for has failed.
    @usableFromInline
    package nonisolated(nonsending) func park(on loop: ReactorConfined<ReactorLoop>) async -> Bool {
        // SAFETY: resumed once, by whoever unparks the spot.
        await unsafe withUnsafeContinuation { (continuation: UnsafeContinuation<Bool, Never>) in
            unsafe loop.value.hot.pointee.parking.store(unsafeBitCast(continuation, to: UInt.self))
        }
    }
    #else
    /// Waits until the spot that `expectParking(at:)` named is unparked. Whether what was waited for has failed.
    @inlinable
    @inline(__always)
    package func park(on loop: ReactorConfined<ReactorLoop>) -> Bool { loop.value.takeFailure() }
    #endif
}

@usableFromInline
@inline(never)
@_optimize(none)
func markArrival() {}
