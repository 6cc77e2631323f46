import Bdev
import Reactors
import Synchronization

/// The injections of one bdev, which all its channels share. Without any, an I/O pays for one look.
final class ErrorPlan: Sendable {
    /// Of one operation each.
    private let injections = ThreadLock<[ErrorInjection]>([])
    private let isArmed = Atomic<Bool>(false)

    /// Takes the place of one for the same operation and blocks.
    func add(_ injection: ErrorInjection) {
        let operations: [ErrorInjection.Operation] =
            injection.operation == .all ? [.read, .write, .unmap, .flush] : [injection.operation]
        injections.withLock { list in
            for operation in operations {
                var single = injection
                single.operation = operation
                list.removeAll { $0.operation == operation && $0.blocks == single.blocks }
                if single.count > 0 { list.append(single) }
            }
            isArmed.store(!list.isEmpty, ordering: .relaxed)
        }
    }

    func clear() {
        injections.withLock { list in
            list = []
            isArmed.store(false, ordering: .relaxed)
        }
    }

    /// What is done to a request that comes while `inFlight` others of its channel are with the base; counts it.
    func hit(_ request: borrowing IORequest, inFlight: Int) -> ErrorInjection? {
        if !isArmed.load(ordering: .relaxed) { return nil }
        guard let operation = ErrorInjection.Operation(request.type) else { return nil }
        let start = request.startBlock
        let blocks = start..<start + request.blockCount
        return injections.withLock { list in
            let index = list.firstIndex { injection in
                injection.operation == operation && inFlight >= injection.queueDepth
                    && (injection.blocks?.overlaps(blocks) ?? true)
            }
            guard let index else { return nil }
            let injection = list[index]
            list[index].count -= 1
            if list[index].count == 0 { list.remove(at: index) }
            isArmed.store(!list.isEmpty, ordering: .relaxed)
            return injection
        }
    }

    /// The hit could not be made: it is still to come.
    func giveBack(_ injection: ErrorInjection) {
        injections.withLock { list in
            let same = list.firstIndex { $0.operation == injection.operation && $0.blocks == injection.blocks }
            if let same, list[same].effect == injection.effect {
                list[same].count += 1
            } else if same == nil {
                var last = injection
                last.count = 1
                list.append(last)
            }
            isArmed.store(!list.isEmpty, ordering: .relaxed)
        }
    }
}

extension ErrorInjection.Operation {
    fileprivate init?(_ type: IOType) {
        switch type {
        case .read: self = .read
        case .write: self = .write
        case .unmap: self = .unmap
        case .flush: self = .flush
        default: return nil
        }
    }
}
