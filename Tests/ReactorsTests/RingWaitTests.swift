import SystemPackage
import Testing

@testable import Reactors

@Suite struct `A waiting ring` {
    @Test(arguments: RingKind.allCases)
    func `is woken by a signal given before, during and after, once for each`(_ kind: RingKind) throws {
        let bench = try RingBench(kind)
        for _ in 0..<3 {
            bench.event.signal()
            #expect(time { bench.ring.wait(nanoseconds: 5_000_000_000) } < .seconds(4))
            #expect(time { bench.ring.wait(nanoseconds: 20_000_000) } >= .milliseconds(15), "nobody signalled")
            let signaller = BackgroundThread { [event = bench.event] in
                pause(milliseconds: 20)
                event.signal()
            }
            #expect(time { bench.ring.wait(nanoseconds: 5_000_000_000) } < .seconds(4))
            signaller.join()
        }
    }

    @Test(arguments: RingKind.allCases)
    func `keeps a signal that came while it turned`(_ kind: RingKind) throws {
        let bench = try RingBench(kind), client = Collector()
        bench.ring.add(client)
        bench.ring.wait(nanoseconds: 1_000_000)
        #expect(bench.ring.nop(token: 1, for: client))
        bench.event.signal()
        while client.results.isEmpty { _ = bench.ring.turn() }
        #expect(time { bench.ring.wait(nanoseconds: 5_000_000_000) } < .seconds(4))
        bench.ring.remove(client)
    }

    @Test(arguments: RingKind.allCases)
    func `ends when an operation does`(_ kind: RingKind) throws {
        let bench = try RingBench(kind), client = Collector(), ends = try FileDescriptor.pipe()
        bench.ring.add(client)
        #expect(bench.ring.poll(RingFile(ends.readEnd), events: 1, token: 1, for: client))
        let writer = BackgroundThread {
            pause(milliseconds: 30)
            _ = try? ends.writeEnd.writeAll([1])
        }
        let elapsed = time {
            while client.results.isEmpty {
                bench.ring.wait(nanoseconds: 5_000_000_000)
                _ = bench.ring.turn()
            }
        }
        #expect(elapsed >= .milliseconds(15) && elapsed < .seconds(4))
        writer.join()
        try ends.readEnd.close()
        try ends.writeEnd.close()
        bench.ring.remove(client)
    }

    @Test(arguments: RingKind.allCases)
    func `costs no turn when nothing is outstanding`(_ kind: RingKind) throws {
        let bench = try RingBench(kind)
        #expect(bench.ring.turn() == .idle && bench.ring.outstanding == 0)
    }
}

@Suite struct `The ring of a reactor` {
    @Test(arguments: RingKind.allCases)
    func `serves an operation that ends while the reactor sleeps`(_ kind: RingKind) async throws {
        var options = ReactorOptions.test
        options.idlePolicy = .adaptive(spin: .zero)
        options.ring.isForbidden = kind == .threads
        let group = try ReactorGroup(cores: [0], options: options)
        defer { group.shutDown() }
        let ends = try FileDescriptor.pipe()
        for round in 0..<5 {
            await group.reactors[0].run { local in
                let (ring, refused) = local.loop.ringOrThreads()
                #expect((refused == nil) == (kind == .kernel))
                #expect(ring === local.loop.ringOrThreads().0)
                let client = Collector()
                ring.add(client)
                client.completed = { [unowned client] token, result in
                    #expect(result == 1)
                    consumeByte(of: ends.readEnd)
                    ring.remove(client)
                    served.add()
                }
                #expect(ring.poll(RingFile(ends.readEnd), events: 1, token: UInt64(round), for: client))
            }
            pause(milliseconds: 20)
            _ = try ends.writeEnd.writeAll([1])
            let before = ContinuousClock.now
            while served.count <= round, ContinuousClock.now < before + .seconds(5) { pause(milliseconds: 1) }
            #expect(served.count == round + 1)
        }
        #expect(await group.reactors[0].run { $0.loop.closeRing() } == 0)
        try ends.readEnd.close()
        try ends.writeEnd.close()
    }

    private let served = Counter()

    @Test func `a forbidden ring says what was tried, why and what to do, and is not tried again`() async throws {
        var options = ReactorOptions.test
        options.ring.isForbidden = true
        let group = try ReactorGroup(cores: [0], options: options)
        defer { group.shutDown() }
        let messages = await group.reactors[0].run { local -> [String] in
            (0..<2).map { _ in
                do throws(RingError) {
                    _ = try local.loop.startRing()
                    return "a ring was made"
                } catch {
                    return error.description
                }
            }
        }
        #expect(
            messages[0] == """
                cannot make an io_uring ring of 256 entries: \(Errno.notPermitted) (Ring.Options.isForbidden is \
                set); unset it, or go on without: files are then read and written by threads
                """)
        #expect(messages[0] == messages[1])
    }

    @Test func `an errno of the kernel is explained`() {
        for cause in [Errno.notPermitted, .noFunction, .noMemory, .tooManyOpenFiles, .notSupported, .invalidArgument] {
            let error = RingError.explain(cause, attempt: "cannot make a ring")
            #expect(error.description.hasPrefix("cannot make a ring: \(cause) ("))
            #expect(!error.description.contains("\n") && error.reason.count > 5 && error.advice.count > 20)
        }
    }

    @Test func `a ring that the kernel refuses for its size says so`() throws {
        var options = Ring.Options()
        options.entries = 0
        let event = try WakeEvent()
        let error = #expect(throws: RingError.self) { _ = try KernelRing(options: options, wakeEvent: event) }
        #expect(error?.cause == .invalidArgument)
    }

    @Test(arguments: [(false, false), (true, false), (false, true), (true, true)])
    func `what is in force can be read`(_ pollsCompletions: Bool, _ pollsSubmissions: Bool) throws {
        var options = Ring.Options()
        options.pollsCompletions = pollsCompletions
        options.pollsSubmissions = pollsSubmissions
        let bench = try RingBench(.kernel, options), features = bench.ring.features
        #expect(features.entries == 256 && features.completionEntries == 2048)
        #expect(features.pollsCompletions == pollsCompletions && features.pollsSubmissions == pollsSubmissions)
        #expect(features.description.contains("DEFER_TASKRUN") == features.defersCompletions)
        #expect(!(pollsSubmissions && features.defersCompletions))
        // Nops pass on any ring; what a polled ring refuses goes to its helper.
        #expect(bench.result { bench.ring.nop(token: $0, for: $1) } == 0)
        let scratch = try ScratchFile(byteCount: 4096, in: "/var/tmp")
        #expect(bench.result { bench.ring.synchronize(scratch.file, token: $0, for: $1) } == 0)
        bench.event.signal()
        #expect(time { bench.ring.wait(nanoseconds: 5_000_000_000) } < .seconds(4))
    }
}
