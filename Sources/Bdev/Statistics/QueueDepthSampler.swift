/// What sampling a bdev's queue depth has found.
public struct QueueDepthSamples: Sendable, Hashable {
    /// From one sample to the next.
    public internal(set) var period: Duration
    /// Requests that the device had at the last sample; nil before the first.
    public internal(set) var depth: Int?
    /// How long the device had any, since the bdev was registered and while sampling was on.
    public internal(set) var busyTime: Duration
    /// The same, each time as often as requests were with the device: over `busyTime` the mean depth of a busy device,
    /// over all time the mean depth.
    public internal(set) var weightedTime: Duration
}

/// Looks at times how many requests a bdev's device has.
///
/// Unchecked Sendable: belongs to the engine, on whose reactor it is used.
final class QueueDepthSampler: @unchecked Sendable {
    private(set) var period: Duration?
    private var depth: Int?
    private var busyTime = Duration.zero
    private var weightedTime = Duration.zero
    /// Counts the changes of the period: a task that samples ends when another period holds.
    private(set) var generation = 0
    /// Tasks that sample: the one of now, and those that have not noticed yet that their time is over.
    var taskCount = 0

    var samples: QueueDepthSamples? {
        period.map { QueueDepthSamples(period: $0, depth: depth, busyTime: busyTime, weightedTime: weightedTime) }
    }

    func change(period: Duration?) {
        self.period = period
        depth = nil
        generation += 1
    }

    /// A sample, `elapsed` after the one before.
    func record(_ depth: Int, elapsed: Duration) {
        self.depth = depth
        if depth == 0 { return }
        busyTime += elapsed
        weightedTime += elapsed * depth
    }
}
