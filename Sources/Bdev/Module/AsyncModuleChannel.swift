public import Reactors
import SystemPackage

/// The easy way to write a module: one async function that does an I/O from beginning to end.
///
/// Subclass it and override ``perform(_:)``. A fixed number of tasks that live as long as the channel work off the
/// requests, so that many are in progress at once and none costs a task of its own. It costs a few suspensions for each
/// I/O; the fast way is to subclass ``BdevModuleChannel`` itself.
///
/// The tasks prefer the reactor: whatever `perform` awaits resumes there, and what the channel holds needs no lock.
open class AsyncModuleChannel: BdevModuleChannel {
    private let reactor: Reactor
    private let loop: ReactorLoop
    private let waiting = RequestQueue()
    private var idleWorkers: [ParkingSpot] = []
    private var isClosed = false

    /// `concurrency`: how many requests are performed at once; what comes beyond waits in order. At least 1.
    public init(on local: isolated LocalReactor, concurrency: Int = 32) {
        precondition(concurrency > 0, "an async module performs at least one request at a time")
        reactor = local.reactor
        loop = local.loop
        super.init()
        let confined = ReactorConfined(self)
        for _ in 0..<concurrency {
            Task(executorPreference: local.reactor.taskExecutor) {
                _ = local
                await confined.value.work()
            }
        }
    }

    /// Does one I/O: returning is success. Called on the reactor; up to `concurrency` at once.
    ///
    /// The request's memory may be used until this returns or throws. Throw `BdevError` with a `status` to pass a
    /// device's answer on; `noMemory` asks the layer to try again later.
    open func perform(_ request: borrowing IORequest) async throws(BdevError) {
        preconditionFailure("\(Self.self) does not override perform(_:)")
    }

    public final override func submit(_ request: consuming IORequest) {
        waiting.append(request)
        if let spot = idleWorkers.popLast() { loop.unpark(spot) }
    }

    open override func close() async {
        isClosed = true
        for spot in idleWorkers { loop.unpark(spot) }
        idleWorkers = []
    }

    private nonisolated(nonsending) func work() async {
        let spot = loop.makeSpot()
        while !isClosed {
            guard let request = waiting.popFirst() else {
                idleWorkers.append(spot)
                await reactor.park(at: spot)
                continue
            }
            do throws(BdevError) {
                try await perform(request)
                request.complete()
            } catch {
                request.complete(error.ioStatus)
            }
        }
        loop.release(spot)
    }
}

extension BdevError {
    /// The error as a device would report it.
    var ioStatus: IOStatus {
        if let status { return status }
        switch code {
        case .aborted: return .aborted
        case .noMemory: return .noMemory
        case .miscompare: return IOStatus(.miscompare)
        case .noSpace: return .system(.noSpace)
        case .notSupported: return .system(.notSupported)
        case .mediaError: return .system(.ioError)
        default: return .failed
        }
    }
}
