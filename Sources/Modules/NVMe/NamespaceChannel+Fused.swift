import Bdev
import NVMeDriver
import Reactors

// Compare-and-write: two commands that are one operation, and one request.
extension NamespaceChannel {
    /// One of the two is over; in the low half its status.
    private static let halfIsOver: UInt32 = 1 << 31

    func compareAndWrite(_ request: consuming IORequest, _ path: IOPath) {
        var compare = SubmissionQueueEntry(opcode: IOOpcode.compare, namespaceID: path.namespaceID)
        compare.startBlock = request.startBlock
        compare.cdw12 = UInt32(truncatingIfNeeded: request.blockCount &- 1)
        var write = compare
        write.opcode = IOOpcode.write
        if request.options.forcesUnitAccess { write.cdw12 |= CommandFormat.forceUnitAccess }
        segments.removeAll(keepingCapacity: true)
        secondSegments.removeAll(keepingCapacity: true)
        for index in 0..<request.segmentCount { segments.append(request.memory(index)) }
        for index in 0..<request.secondSegmentCount { secondSegments.append(request.secondMemory(index)) }
        request.setScratch(UInt32(0))
        let token = request.detach()
        if !path.submitFused(compare, segments, then: write, secondSegments, token) { refuse(token) }
    }

    /// One of the two commands has ended: both together say how the request did.
    func endedHalf(
        _ request: consuming IORequest, _ token: RequestToken, _ completion: NVMeCompletion, on path: IOPath
    ) {
        let known: UInt32 = request.scratch()
        if known == 0 {
            request.setScratch(Self.halfIsOver | UInt32(completion.status.rawValue))
            _ = request.detach()
            return
        }
        let other = NVMeStatus(rawValue: UInt16(truncatingIfNeeded: known))
        var completion = completion
        // Why one of them failed says more than that the other was not done.
        if completion.status.isSuccess || completion.status.isAboutOtherHalf && !other.isSuccess {
            completion.status = other
        }
        ended(request, token, completion, on: path)
    }
}

extension NVMeStatus {
    fileprivate var isAboutOtherHalf: Bool { matches(.abortedByFailedFused) || matches(.abortedByMissingFused) }
}
