import Reactors

// SAFETY (below): slots are never unmapped while their reactor lives, and only its thread touches them.

/// Tasks that are cancelled while they wait, and requests whose time is over.
extension RequestPool {
    /// A task is about to park for a request.
    @inline(__always)
    func willPark() { if !isScanning { startScanning() } }

    @inline(never)
    private func startScanning() {
        isScanning = true
        if cancellationScan.isRegistered {
            loop.resume(cancellationScan)
        } else {
            loop.add(cancellationScan, period: CancellationScan.period)
        }
    }

    /// A request has a deadline from now on.
    func watchDeadlines() {
        hasDeadlines = true
        willPark()
    }

    func scanForCancellation() {
        if hasDeadlines { abortLate() }
        if hasWaiters { dismissCancelledWaiters() }
        loop.dismissCancelledBufferWaiters()
        if loop.parkedTaskCount == 0 {
            isScanning = false
            loop.pause(cancellationScan)
            return
        }
        unsafe forEachSlot { slot in
            let phase = unsafe slot.pointee.phase
            if phase != .inDevice && phase != .queued { return }
            unsafe slot.pointee.core._withUnsafeGuaranteedRef { unsafe $0.abortIfCancelled(slot) }
        }
    }

    private func abortLate() {
        hasDeadlines = false
        let now = loop.clock.now()
        unsafe forEachSlot { slot in
            guard unsafe slot.pointee.phase != .free, unsafe slot.pointee.hasExtras,
                unsafe slot.pointee.extras.deadline != .max
            else { return }
            hasDeadlines = true
            if unsafe slot.pointee.extras.deadline > now || slot.pointee.extras.isLate { return }
            unsafe slot.pointee.extras.isLate = true
            unsafe slot.pointee.core._withUnsafeGuaranteedRef { unsafe $0.abort(slot) }
        }
    }

    /// Those who wait and whose tasks have been cancelled wait no longer.
    private func dismissCancelledWaiters() {
        for spot in waiters where loop.isCancelled(at: spot) {
            givenUp.insert(spot)
            loop.unpark(spot)
        }
        waiters.removeAll(where: givenUp.contains)
        hasWaiters = !waiters.isEmpty
    }
}
