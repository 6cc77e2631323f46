import Bdev
import Reactors

// The public async API, from tasks on the reactor (`--api async`) or anywhere (`--api global`). The same code: it
// runs where its caller does.

extension Job {
    /// One queue slot, to the end of the plan.
    func runSlot(_ slot: Int, _ channel: BdevChannel) async {
        let stream = stream(slot, of: plan.depth)
        switch plan.workload {
        case .read, .write, .randread, .randwrite, .rw, .randrw, .reset: await transfer(stream, channel)
        case .unmap, .flush, .writeZeroes: await operate(stream, channel)
        case .verify: await verify(slot, stream, channel)
        }
    }

    private func transfer(_ stream: Stream, _ channel: BdevChannel) async {
        var buffer = await channel.buffer(byteCount: plan.ioByteCount)
        buffer.fill(with: 0x5A)
        while stream.remaining > 0 && !stop.isSet {
            stream.remaining -= 1
            do throws(BdevError) {
                if stream.nextIsRead() {
                    try await channel.read(at: stream.next(), into: &buffer)
                } else {
                    try await channel.write(from: buffer, at: stream.next())
                }
            } catch {
                // Under resets this is what is asked for.
                if plan.workload != .reset || error.code != .aborted { note(error) }
            }
        }
    }

    private func operate(_ stream: Stream, _ channel: BdevChannel) async {
        while stream.remaining > 0 && !stop.isSet {
            stream.remaining -= 1
            do throws(BdevError) {
                switch plan.workload {
                case .unmap: try await channel.unmap(at: stream.next(), count: .blocks(ioBlocks))
                case .writeZeroes: try await channel.writeZeroes(at: stream.next(), count: .blocks(ioBlocks))
                default: try await channel.flush()
                }
            } catch {
                note(error)
            }
        }
    }

    // MARK: Resets

    /// Resets the bdev every 10 ms while the other tasks read from it.
    func resetRepeatedly(_ channel: BdevChannel) async {
        let pause = Duration.milliseconds(10)
        while !stop.isSet {
            do { try await channel.reset() } catch { note(error) }
            // A count of I/Os ends with the reads.
            if share.ioCount != nil { return }
            try? await channel.reactor.run { local throws(CancellationError) in try await local.sleep(for: pause) }
        }
    }

    // MARK: The global pool

    /// Ordinary tasks: each I/O crosses threads twice. What a service pays that calls now and then.
    func runGlobally(_ channel: BdevChannel) async {
        await withTaskGroup(of: Void.self) { group in
            for slot in 0..<plan.depth {
                group.addTask { await self.runOnPool(slot, channel) }
            }
        }
    }

    @concurrent
    private func runOnPool(_ slot: Int, _ channel: BdevChannel) async { await runSlot(slot, channel) }
}
