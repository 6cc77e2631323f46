import Bdev
import Reactors
import SimulatedReactors
import Testing

/// News of an engine's bdevs.
struct NotificationTests {
    @Test func `bdevs that come, change and go are told, in this order`() throws {
        try simulateEngine { here, engine, log in
            let module = RecordedModule("test", log)
            try await engine.register(module)
            var news = engine.notifications.makeAsyncIterator()
            try await module.register("a")
            try await module.register("b")
            try await module.host.value.resize("a", blockCount: 4096)
            try await module.host.value.unregister("b")
            try await module.register("b")
            let expected: [BdevNotification] = [
                .registered("a"), .registered("b"), .resized("a", blockCount: 4096), .unregistered("b"),
                .registered("b"),
            ]
            for notification in expected { #expect(await news.next() == notification) }
        }
    }

    @Test func `a bdev is told of when every module has examined it, and not at all when it goes before`() throws {
        try simulateEngine { here, engine, log in
            let module = RecordedModule("test", log), virtual = VirtualModule("virtual", log)
            let mayEnd = Shared(false)
            virtual.onDisk = { bdev, _ throws(BdevError) in
                while !mayEnd.value { await here.settle(.microseconds(10)) }
                log.value.append("examined \(bdev.name)")
            }
            try await engine.start([module, virtual])
            let told = here.task {
                var all: [BdevNotification] = []
                for await notification in engine.notifications {
                    if notification == .registered("a") { #expect(log.value.contains("examined a")) }
                    all.append(notification)
                }
                return all
            }
            await here.settle()
            try await module.register("a")
            try await module.register("short-lived")
            await here.settle(.milliseconds(1))
            let removal = here.task { try? await engine.remove("short-lived") }
            await here.settle(.milliseconds(1))
            mayEnd.value = true
            await engine.waitForExamine()
            await removal.value
            await engine.stop()
            #expect(await told.value == [.registered("a"), .unregistered("a")])
        }
    }

    @Test func `who does not keep up is told how much he has missed, and has the rest`() throws {
        try simulateEngine { here, engine, log in
            let module = RecordedModule("test", log)
            try await engine.register(module)
            try await module.register("a")
            var slow = engine.notifications.makeAsyncIterator(), early = engine.notifications.makeAsyncIterator()
            for count in UInt64(1)...1500 { try await module.host.value.resize("a", blockCount: 2000 + count) }
            #expect(await slow.next() == .missed(1500 - 1024))
            for count in UInt64(1500 - 1023)...1500 {
                #expect(await slow.next() == .resized("a", blockCount: 2000 + count))
            }
            try await module.host.value.resize("a", blockCount: 5000)
            #expect(await slow.next() == .resized("a", blockCount: 5000))
            // Another consumer has a queue of its own.
            #expect(await early.next() == .missed(1501 - 1024))
        }
    }

    @Test func `the notifications end when the engine has stopped`() throws {
        try simulateEngine { here, engine, log in
            let module = RecordedModule("test", log)
            try await engine.register(module)
            var news = engine.notifications.makeAsyncIterator()
            try await module.register("a")
            await engine.stop()
            var told: [BdevNotification] = []
            while let notification = await news.next() { told.append(notification) }
            #expect(told == [.registered("a"), .unregistered("a")])
            var late = engine.notifications.makeAsyncIterator()
            #expect(await late.next() == nil)
        }
    }
}
