import Bdev
import Reactors

extension Job {
    /// The synchronous face: no task for an I/O, each completion submits the next.
    func runEngine(_ channel: isolated BdevChannel) async {
        let load = EngineLoad(self, channel.engine)
        for _ in 0..<plan.depth where load.hasMore {
            // Nothing is in flight yet that could give a buffer back, so this does not wait for itself: the pool is
            // sized for it.
            load.submit(plan.workload.plainType == nil ? await channel.buffer(byteCount: plan.ioByteCount) : nil)
        }
        // The only continuation of a run: it resumes by way of the global pool, which for the end does not matter.
        await withCheckedContinuation { load.whenDone($0) }
    }
}

private final class EngineLoad: IOHandler {
    private let job: Job
    private let channel: EngineChannel
    private let stop: StopFlag
    private let plainType: IOType?
    private let stream: Stream
    private var inFlight = 0
    private var waiter: CheckedContinuation<Void, Never>?

    init(_ job: Job, _ channel: EngineChannel) {
        self.job = job
        self.channel = channel
        stop = job.stop
        plainType = job.plan.workload.plainType
        stream = job.stream(0, of: 1)
    }

    var hasMore: Bool { stream.remaining > 0 && !stop.isSet }

    @inline(__always)
    func submit(_ next: consuming IOBuffer?) {
        stream.remaining &-= 1
        var buffer = next
        do throws(BdevError) {
            if let plainType {
                try submitPlain(plainType)
            } else if stream.nextIsRead() {
                try channel.read(into: &buffer, at: stream.next(), handler: self)
            } else {
                try channel.write(from: &buffer, at: stream.next(), handler: self)
            }
            inFlight &+= 1
        } catch {
            // Refused, and it would be again: the slot ends.
            job.note(error)
        }
    }

    @inline(never)
    private func submitPlain(_ type: IOType) throws(BdevError) {
        let isFlush = type == .flush
        try channel.submit(
            type, at: isFlush ? .block(0) : stream.next(), count: .blocks(isFlush ? channel.blockCount : job.ioBlocks),
            handler: self)
    }

    override func ioCompleted(_ completion: consuming IOCompletion) {
        inFlight &-= 1
        if !completion.status.isSuccess { fail(completion.type, completion.status) }
        if hasMore { submit(completion.buffer.take()) }
        if inFlight == 0 { finish() }
    }

    @inline(never)
    private func fail(_ type: IOType, _ status: IOStatus) {
        job.note(BdevError(.deviceFailed, bdev: channel.name, "\(type) failed", status: status))
    }

    func whenDone(_ continuation: CheckedContinuation<Void, Never>) {
        waiter = continuation
        if inFlight == 0 { finish() }
    }

    @inline(never)
    private func finish() {
        waiter?.resume()
        waiter = nil
    }
}
