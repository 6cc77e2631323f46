import Reactors

// SAFETY (below): the counters and the recorder live as long as their core, whose reactor alone touches them; a slot
// that is accounted for is complete and not yet given back.

extension ChannelCore {
    /// Counts a request that is complete.
    @inline(__always)
    func account(_ slot: Slot) {
        if unsafe slot.pointee.status.code != .success { return unsafe accountError(slot) }
        let ticks = unsafe clock.now() &- slot.pointee.submitTick
        let type = unsafe slot.pointee.type
        if type == .zeroCopy {
            unsafe countZeroCopy(slot, ticks)
        } else {
            unsafe counters[type.counterIndex].record(blocks: slot.pointee.blockCount, ticks: ticks)
        }
        if let recorder = unsafe recorder {
            unsafe recorder._withUnsafeGuaranteedRef { $0.record(type, ticks) }
        }
    }

    /// Counts as a read or a write of the data, when it begins.
    @inline(never)
    private func countZeroCopy(_ slot: Slot, _ ticks: UInt64) {
        let type: IOType
        switch unsafe slot.pointee.extras.zeroCopyPhase {
        case .startPopulated: type = .read
        case .start: type = .write
        case .end, .commit: return
        }
        unsafe counters[type.counterIndex].record(blocks: slot.pointee.blockCount, ticks: ticks)
    }

    @inline(never)
    private func accountError(_ slot: Slot) {
        if unsafe slot.pointee.status.code == .pending { bdev.contractBroken("a request was completed as pending") }
        unsafe errors[slot.pointee.status.code, default: 0] += 1
    }

    // MARK: Figures

    /// Since the channel was made, or since the last reset.
    var statistics: IOStatistics {
        var result = IOStatistics()
        for type in IOType.allCases {
            let counters = unsafe counters[type.counterIndex].counters(blockByteCount: shape.blockByteCount)
            switch type {
            case .read: result.read = counters
            case .write: result.write = counters
            case .unmap: result.unmap = counters
            case .copy: result.copy = counters
            default: result.other.add(counters)
            }
        }
        result.errors = errors
        result.retryCount = retryCount
        result.ticksPerSecond = clock.ticksPerSecond
        return result
    }

    func resetStatistics(_ reset: StatisticsReset) {
        switch reset {
        case .none: break
        case .errors: errors = [:]
        case .extremes: for index in 0..<IOType.counterCount { unsafe counters[index].forgetExtremes() }
        case .all:
            for index in 0..<IOType.counterCount { unsafe counters[index] = ChannelCounters() }
            errors = [:]
            retryCount = 0
        }
    }

    /// Requests that the device has now.
    var queueDepth: Int {
        // What is with the module is of this bdev, unless others of its bdevs share the channel.
        if !pool.isShared(module) { return module.outstandingCount }
        var count = 0
        unsafe forEachOutstanding { slot in if unsafe slot.pointee.phase == .inDevice { count += 1 } }
        return count
    }

    // MARK: Latencies

    /// What the latencies of this channel are recorded in, of a user's own besides those of the bdev.
    var histogram: LatencyHistogram? {
        get { recorderOwner?.own }
        set { setRecorder(LatencyRecorder(recorderOwner, own: newValue)) }
    }

    /// Records the latencies of these kinds from now on; what was recorded of others stays.
    func recordLatencies(of types: IOTypes) { setRecorder(LatencyRecorder(recorderOwner, types: types)) }

    /// What has been recorded; nil when nothing is.
    var latencies: BdevLatencies? { recorderOwner?.latencies(ticksPerSecond: clock.ticksPerSecond) }
}

/// Where the latencies of one channel go. Made anew when that changes: the path only looks.
@safe final class LatencyRecorder {
    /// A user's, of every kind of I/O.
    let own: LatencyHistogram?
    private let types: IOTypes
    private let read: LatencyHistogram?
    private let write: LatencyHistogram?
    private let other: LatencyHistogram?
    /// By `IOType.counterIndex`; nil for kinds that are not recorded.
    private let byType: UnsafeMutablePointer<Unmanaged<LatencyHistogram>?>
    private let ownReference: Unmanaged<LatencyHistogram>?

    /// One that goes on from `former` with another histogram of a user's; nil when there is nothing to record.
    convenience init?(_ former: LatencyRecorder?, own: LatencyHistogram?) {
        self.init(former, own, former?.types ?? [])
    }

    /// One that goes on from `former` with other kinds of I/O; nil when there is nothing to record.
    convenience init?(_ former: LatencyRecorder?, types: IOTypes) { self.init(former, former?.own, types) }

    private init?(_ former: LatencyRecorder?, _ own: LatencyHistogram?, _ types: IOTypes) {
        if own == nil && types.isEmpty { return nil }
        self.own = own
        self.types = types
        unsafe ownReference = own.map(Unmanaged.passUnretained)
        let isOn = !types.isEmpty
        read = isOn ? former?.read ?? LatencyHistogram() : nil
        write = isOn ? former?.write ?? LatencyHistogram() : nil
        other = isOn ? former?.other ?? LatencyHistogram() : nil
        unsafe byType = .allocate(capacity: IOType.counterCount)
        unsafe byType.initialize(repeating: nil, count: IOType.counterCount)
        for type in IOType.allCases where types.contains(type) {
            let histogram = type == .read ? read : type == .write ? write : other
            unsafe byType[type.counterIndex] = histogram.map(Unmanaged.passUnretained)
        }
    }

    deinit { unsafe byType.deallocate() }

    @inline(__always)
    func record(_ type: IOType, _ ticks: UInt64) {
        if let histogram = unsafe byType[type.counterIndex] {
            unsafe histogram._withUnsafeGuaranteedRef { $0.record(ticks) }
        }
        if let histogram = unsafe ownReference { unsafe histogram._withUnsafeGuaranteedRef { $0.record(ticks) } }
    }

    func latencies(ticksPerSecond: UInt64) -> BdevLatencies? {
        guard let read, let write, let other else { return nil }
        var result = BdevLatencies(types: types, ticksPerSecond: ticksPerSecond)
        result.read.add(LatencyDistribution(counts: read.all, ticksPerSecond: ticksPerSecond))
        result.write.add(LatencyDistribution(counts: write.all, ticksPerSecond: ticksPerSecond))
        result.other.add(LatencyDistribution(counts: other.all, ticksPerSecond: ticksPerSecond))
        return result
    }
}
