import Bdev
import NVMeDriver
import Reactors

/// One way from a channel to its namespace: a queue pair of one controller, and what commands on it end with.
final class IOPath: NVMeClient {
    let route: ControllerPath
    private unowned let channel: NamespaceChannel
    private let requests: RequestTable
    /// The namespace's identifier on this controller.
    var namespaceID: UInt32 = 0
    private(set) var pair: NVMeQueuePair?
    private(set) var controller: NVMeController?
    private(set) var generation: UInt64 = 0
    /// Commands under way.
    private(set) var outstanding = 0
    var access = AsymmetricAccess.optimized
    /// The controller has answered that the namespace is reached otherwise than it said; it is being asked.
    var isInDoubt = false
    /// The controller is being reset: other ways are taken meanwhile.
    private(set) var isSuspended = false
    /// Nothing new goes this way: it is closed when nothing is under way any more.
    var isLeaving = false
    var isHopeful = true
    /// Whether the channel wants to see every completion, not only those that are no success.
    var isWatched = false
    var counts = PathCounts()

    init(_ route: ControllerPath, of channel: NamespaceChannel, _ requests: RequestTable) {
        self.route = route
        self.channel = channel
        self.requests = requests
        super.init()
    }

    @inline(__always)
    var isConnected: Bool { pair?.state == .connected }
    var isUsable: Bool { isConnected && access.isUsable && !isInDoubt && !isLeaving && !isSuspended }

    // MARK: Queue pair

    func connect(_ link: ControllerPath.Link) {
        pair = link.pair
        controller = link.controller
        generation = link.generation
        link.pair.add(self)
    }

    /// Lets go of the queue pair, on which nothing is under way.
    func disconnect() {
        pair?.remove(self)
        pair = nil
        controller = nil
    }

    /// Commands that the controller has not been given, and will not be soon, come back and go another way.
    func setSuspended(_ isSuspended: Bool) {
        self.isSuspended = isSuspended
        if isSuspended { pair?.giveBackWaiting(of: self) }
    }

    // MARK: Commands

    /// Whether the command was taken. `token` is of the request.
    @inline(__always)
    func submit(_ command: SubmissionQueueEntry, data: IOMemory?, metadata: IOMemory?, _ token: RequestToken) -> Bool {
        guard let pair,
            pair.submit(command, data: data, metadata: metadata, client: self, token: token.rawValue)
        else { return false }
        outstanding &+= 1
        return true
    }

    func submit(
        _ command: SubmissionQueueEntry, segments: [IOMemory], metadata: IOMemory?, _ token: RequestToken
    ) -> Bool {
        guard let pair,
            pair.submit(command, segments: segments, metadata: metadata, client: self, token: token.rawValue)
        else { return false }
        outstanding &+= 1
        return true
    }

    /// Two commands that are one operation.
    func submitFused(
        _ first: SubmissionQueueEntry, _ segments: [IOMemory], then second: SubmissionQueueEntry,
        _ secondSegments: [IOMemory], _ token: RequestToken
    ) -> Bool {
        guard let pair,
            pair.submitFused(
                first, segments: segments, then: second, segments: secondSegments, client: self, token: token.rawValue)
        else { return false }
        outstanding &+= 2
        return true
    }

    override func commandCompleted(token: UInt64, _ completion: NVMeCompletion) {
        outstanding &-= 1
        let token = RequestToken(rawValue: token), request = requests.request(token)
        if completion.status.isSuccess, !isWatched, request.type == .read || request.type == .write {
            return request.complete()
        }
        if request.type == .compareAndWrite { return channel.endedHalf(request, token, completion, on: self) }
        channel.ended(request, token, completion, on: self)
    }
}

/// What has gone over one path.
struct PathCounts: Sendable, Hashable {
    var reads: UInt64 = 0
    var writes: UInt64 = 0
    var others: UInt64 = 0
    var readByteCount: UInt64 = 0
    var writtenByteCount: UInt64 = 0
    /// Commands that failed, whatever became of the I/O.
    var failures: UInt64 = 0

    mutating func add(_ type: IOType, byteCount: UInt64) {
        switch type {
        case .read:
            reads &+= 1
            readByteCount &+= byteCount
        case .write:
            writes &+= 1
            writtenByteCount &+= byteCount
        default: others &+= 1
        }
    }

    static func + (left: PathCounts, right: PathCounts) -> PathCounts {
        var sum = left
        sum.reads += right.reads
        sum.writes += right.writes
        sum.others += right.others
        sum.readByteCount += right.readByteCount
        sum.writtenByteCount += right.writtenByteCount
        sum.failures += right.failures
        return sum
    }
}

/// Buffers that belong to commands under way, by numbers that requests keep in their scratch. Allocates only as it
/// grows.
struct BufferShelf {
    private final class Place {
        var buffer: IOBuffer?
        init() { buffer = nil }
    }

    private var places: [Place] = []
    private var free: [UInt32] = []

    mutating func put(_ buffer: consuming IOBuffer) -> UInt32 {
        if free.isEmpty {
            free.append(UInt32(places.count))
            places.append(Place())
        }
        let index = free.removeLast()
        places[Int(index)].buffer = consume buffer
        return index
    }

    mutating func drop(_ index: UInt32) {
        places[Int(index)].buffer = nil
        free.append(index)
    }
}
