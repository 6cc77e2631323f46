import Bdev
import NVMeDriver
import Reactors

// What happens when a command has failed, or there is no path for one.
extension NamespaceChannel {
    /// How often a request goes another way before it fails: a controller that says one thing and does another does not
    /// keep it for ever.
    private static let detourLimit = 64
    /// What a request without a path ends with: host pathing error.
    static let withoutPath = IOStatus(.nvmeError, detail: 0x370)

    /// A command has ended that is no plain success.
    func ended(_ request: consuming IORequest, _ token: RequestToken, _ completion: NVMeCompletion, on path: IOPath) {
        if request.type == .zoneInfo || request.type == .zoneManagement, let walk = walks.removeValue(forKey: token) {
            if completion.status.isSuccess { return goOn(walk, request, token, on: path) }
        }
        dropBuffer(of: request)
        if bdev.countsPathIO { path.counts.add(request.type, byteCount: request.byteCount) }
        var trouble = Trouble()
        if !troubles.isEmpty, let known = troubles.removeValue(forKey: token) {
            trouble = known
            watch()
        }
        if !completion.status.isSuccess { return failed(request, completion, trouble, on: path) }
        switch request.type {
        case .nvmeIO, .nvmeIOWithMetadata, .nvmeIOVector, .zoneAppend: request.complete(result: completion.result)
        default: request.complete()
        }
    }

    private func failed(
        _ request: consuming IORequest, _ completion: NVMeCompletion, _ trouble: Trouble, on path: IOPath
    ) {
        var trouble = trouble
        // What was never given to the controller is no failure of its.
        let status = completion.status, isGivenBack = status.matches(.commandAbortedByHost)
        if !isGivenBack { path.counts.failures &+= 1 }
        let isLost = status.matches(.abortedBySubmissionQueueDeletion)
        // A difference is what was asked for, no failure.
        if status.matches(.compareFailure) { return request.complete(IOStatus(.miscompare)) }
        if status.matches(.abortRequested) || trouble.isGivenUp { return request.complete(.aborted) }
        if isResetting, isGivenBack { return request.complete(.aborted) }
        if status.doesNotRetry || status.isAboutZones {
            return request.complete(IOStatus(status), result: completion.result)
        }
        if isLost || status.type == 3 || !path.isUsable {
            // Whether it was done nobody knows.
            if isLost, isResetting || !canBeRepeated(request) { return request.complete(.aborted) }
            if !isLost, isResetting { return request.complete(IOStatus(status)) }
            if status.isAboutAccess, !path.isInDoubt {
                path.isInDoubt = true
                bdev.accessIsInDoubt(of: path.route)
            }
            trouble.detours += 1
            if trouble.detours > Self.detourLimit { return request.complete(IOStatus(status)) }
            // Straight back to where it failed would be a loop without end.
            if current === path { current = nil }
            if !isGivenBack, choosePath(except: path) == nil, path.isUsable {
                return retry(request, status, trouble, on: path)
            }
            if paths.contains(where: \.isHopeful) == false { return request.complete(IOStatus(status)) }
            return goOn(request, trouble)
        }
        retry(request, status, trouble, on: path)
    }

    /// The device has failed it: again, as often as is allowed, when the controller wants it.
    private func retry(
        _ request: consuming IORequest, _ status: NVMeStatus, _ trouble: Trouble, on path: IOPath
    ) {
        var trouble = trouble
        if let limit = bdev.retryLimit, trouble.attempts >= limit { return request.complete(IOStatus(status)) }
        if isResetting { return request.complete(IOStatus(status)) }
        trouble.attempts += 1
        if status.retryDelay == 0 { return goOn(request, trouble) }
        let token = request.detach()
        troubles[token] = trouble
        delayed.insert(token)
        watch()
        _ = reactor.loop.schedule(after: format.retryDelays[status.retryDelay - 1]) { [weak self] in
            guard let self, self.delayed.remove(token) != nil else { return }
            self.submit(self.requests.request(token))
        }
    }

    private func goOn(_ request: consuming IORequest, _ trouble: Trouble) {
        let token = request.detach()
        troubles[token] = trouble
        watch()
        submit(requests.request(token))
    }

    /// There is no path for it now.
    func hold(_ request: consuming IORequest) {
        // What brings paths back needs none.
        if request.type == .reset { return reset(request) }
        if !paths.contains(where: \.isHopeful) {
            let token = request.detach()
            return end(token, Self.withoutPath)
        }
        waiting.append(request.detach())
    }

    /// Whether completions have to be looked at one by one.
    func watch() {
        let isWatched = !troubles.isEmpty || bdev.countsPathIO || format.separateMetadataByteCount > 0
        for path in paths { path.isWatched = isWatched }
    }

    /// Doing it twice is the same as doing it once.
    private func canBeRepeated(_ request: borrowing IORequest) -> Bool {
        switch request.type {
        case .zoneAppend, .compareAndWrite, .nvmeAdmin, .nvmeIO, .nvmeIOWithMetadata, .nvmeIOVector: return false
        // Behind the write pointer nothing is written twice.
        case .write, .writeZeroes: return format.zones == nil
        case .copy:
            let (source, target) = (request.sourceBlock, request.startBlock)
            return max(source, target) - min(source, target) >= request.blockCount
        default: return true
        }
    }

    // MARK: Resets of the bdev

    /// What waits is given up.
    func beginReset() {
        isResetting = true
        let all = waiting + delayed
        waiting = []
        delayed = []
        for token in all { end(token, .aborted) }
    }

    func endReset() { isResetting = false }
}

extension IOStatus {
    fileprivate init(_ status: NVMeStatus) {
        self.init(.nvmeError, detail: Int32(status.type) << 8 | Int32(status.code))
    }
}

extension NVMeStatus {
    /// What a zone's state forbids: it would again.
    fileprivate var isAboutZones: Bool { type == 1 && 0xB8...0xBF ~= code }

    /// Asymmetric access: persistent loss, inaccessible, transition.
    fileprivate var isAboutAccess: Bool { type == 3 && 1...3 ~= code }
}
