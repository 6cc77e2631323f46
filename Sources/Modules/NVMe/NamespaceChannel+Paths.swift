import Bdev
import NVMeDriver
import Reactors

// Which path an I/O takes, and which paths there are.
extension NamespaceChannel {
    /// The path that the next I/O takes, which becomes ``current``; nil: none can be used now.
    @inline(never)
    func choosePath(except avoided: IOPath? = nil) -> IOPath? {
        switch policy {
        case .activePassive: current = bestPaths(except: avoided).first
        case .queueDepth: current = bestPaths(except: avoided).min { $0.outstanding < $1.outstanding }
        case .roundRobin(let count):
            if turnsLeft > 0, let current, current.isUsable, current !== avoided {
                turnsLeft -= 1
                return current
            }
            let best = bestPaths(except: avoided)
            let place = current.flatMap { old in best.firstIndex { $0 === old } } ?? best.count - 1
            current = best.isEmpty ? nil : best[(place + 1) % best.count]
            turnsLeft = max(1, count) - 1
        }
        return current
    }

    /// Those that can be used, the optimized ones if there are any.
    private func bestPaths(except avoided: IOPath?) -> [IOPath] {
        let usable = paths.filter { $0.isUsable && $0 !== avoided }
        let optimized = usable.filter { $0.access == .optimized }
        return optimized.isEmpty ? usable : optimized
    }

    // MARK: Which there are

    /// Brings the paths in line with what the bdev knows of them: makes and closes queue pairs, and has what waits go
    /// on, or fail. One call at a time does the work; the last one sees the last change.
    ///
    /// - Returns: why a path that should be there could not be made.
    @discardableResult
    func synchronize(on local: isolated LocalReactor) async -> NVMeError? {
        while isSynchronizing {
            // It stays so for good.
            if isClosing { return nil }
            await local.pause()
        }
        isSynchronizing = true
        defer { isSynchronizing = false }
        let table = bdev.table
        policy = table.policy
        var failure: NVMeError?
        for path in paths where !table.entries.contains(where: { $0.path === path.route }) {
            path.isLeaving = true
            path.isHopeful = false
        }
        var order: [IOPath] = []
        for entry in table.entries {
            let path = paths.first { $0.route === entry.path && !$0.isLeaving } ?? addPath(entry.path)
            path.namespaceID = entry.namespace.id
            path.access = entry.access
            path.isInDoubt = false
            path.setSuspended(entry.path.phase == .resetting)
            path.isHopeful = entry.isHopeful
            order.append(path)
            if path.pair == nil || path.generation != entry.path.generation {
                path.disconnect()
                do throws(NVMeError) {
                    path.connect(try await entry.path.queue(on: local))
                } catch {
                    failure = error
                }
            }
        }
        for path in paths where path.isLeaving && path.outstanding == 0 { await close(path, on: local) }
        paths = order + paths.filter { path in !order.contains { $0 === path } && path.pair != nil }
        resume()
        return failure
    }

    private func addPath(_ route: ControllerPath) -> IOPath {
        let path = IOPath(route, of: self, requests)
        paths.append(path)
        return path
    }

    private func close(_ path: IOPath, on local: isolated LocalReactor) async {
        if path.pair == nil { return }
        path.disconnect()
        await path.route.leaveQueue(generation: path.generation, on: local)
    }

    /// Whether nothing is under way on a path that is not there any more.
    var hasSettled: Bool { !paths.contains { $0.isLeaving } }

    /// The paths are not what they were: another may be better, and what waits can go on or fail.
    private func resume() {
        current = nil
        turnsLeft = 0
        watch()
        spreads = policy != .activePassive && paths.count > 1
        while !waiting.isEmpty {
            guard let path = choosePath() else { break }
            start(requests.request(waiting.removeFirst()), on: path)
        }
        if current == nil { _ = choosePath() }
        if waiting.isEmpty || paths.contains(where: \.isHopeful) { return }
        let all = waiting
        waiting = []
        for token in all { end(token, Self.withoutPath) }
    }

    /// Nothing is under way any more.
    func closePaths(on local: isolated LocalReactor) async {
        while isSynchronizing { await local.pause() }
        isSynchronizing = true
        isClosing = true
        for path in paths { await close(path, on: local) }
        paths = []
        current = nil
    }
}

extension LocalReactor {
    /// A moment, for somebody who looks again and again whether something is over.
    func pause() async { try? await sleep(for: .milliseconds(1)) }
}
