public import NVMeDriver
public import Reactors
import SystemPackage

/// An NVMe controller in this process, made of plain memory: registers, doorbells, queues with phase bits, commands.
/// The driver works with it as with a device, on any machine, on virtual time too.
///
/// It works on one reactor, which visits it on every turn; the driver may be on that one or others.
public final class SoftController: Sendable {
    public struct Options: Sendable {
        public var name = "soft0"
        public var serialNumber = "SOFT0"
        public var modelNumber = "swift-bdev soft controller"
        /// What it says of its subsystem, and of itself in it.
        public var subsystem = SoftSubsystemOptions()
        public var namespaces: [SoftNamespaceOptions] = []
        /// The most entries of a queue: 2 to 65,536.
        public var queueEntryLimit = 1024
        /// I/O queue pairs that it gives.
        public var queuePairLimit = 16
        /// MDTS, as a power of two of pages of 4 KiB; 0: no limit.
        public var transferPageShift: UInt8 = 0
        /// ZASL: the same for Zone Append; 0: as MDTS.
        public var appendPageShift: UInt8 = 0
        /// ACWU + 1: blocks of a fused compare-and-write; 0: it does not fuse.
        public var fusedBlockCountLimit: UInt16 = 8
        /// NSSRS: the subsystem can be reset through a register.
        public var resetsSubsystem = false
        /// Whether it takes SGLs.
        public var hasSGL = false
        /// DSTRD: each doorbell is 4 << this bytes from the one before.
        public var doorbellStrideShift = 0
        /// Whether it takes shadow doorbells. It sleeps then until a doorbell's register is stored to.
        public var hasDoorbellBuffers = false
        /// Bytes of its own memory, for submission queues and data; a multiple of 4,096. 0: it has none.
        public var memoryBufferByteCount = 0
        /// What its persistent memory holds, whole pages of 4,096 bytes. Empty: it has none.
        public var persistentMemory: [UInt8] = []
        /// What the status of that shows besides being ready (PMRSTS).
        public var persistentMemoryStatus: UInt32 = 0
        /// KAS, in units of 100 ms: it breaks down when it has no sign of life for as long as the host has set; 0: it
        /// has no timer.
        public var keepAliveGranularity: UInt16 = 0
        /// CRDT1 to CRDT3, in units of 100 ms.
        public var retryDelays: [UInt16] = []
        public var hasVolatileWriteCache = true
        /// VS. Before 1.1 it lists no namespaces, before 1.3 it has no descriptors of them.
        public var version = NVMeVersion(1, 4)
        /// What it is known for, to the driver, and does.
        package var quirks: NVMeQuirks = []
        /// Of its stripes, as a power of two of pages of 4 KiB.
        package var stripePageShift: UInt8 = 0
        /// CAP.TO, in units of 500 ms.
        public var readyTimeout: UInt8 = 10
        /// How long it takes to become ready, and to stop.
        public var readyLatency = Duration.zero
        /// Decides how long commands take.
        public var seed: UInt64 = 1

        public init() {}
    }

    let engine: ReactorConfined<SoftEngine>
    private let reactor: Reactor
    private let options: Options

    /// Powers it on.
    ///
    /// - Throws: `ReactorError` (`resourceExhausted`) when there is no memory for its blocks.
    public init(_ options: Options, on local: isolated LocalReactor) throws(ReactorError) {
        let engine = try SoftEngine(options, loop: local.loop)
        self.engine = ReactorConfined(engine)
        reactor = local.reactor
        self.options = options
        engine.poller = local.addPoller(named: "soft NVMe \(options.name)") { engine.poll() }
    }

    /// Brings the driver up on it, on `reactor`. As `NVMeController`'s own attach; one attachment at a time.
    public func attach(
        on reactor: Reactor, options: NVMeController.Options = .init()
    ) async throws(NVMeError) -> NVMeController {
        // What one attachment could reach is closed with it.
        let transport = SoftTransport(self.options, engine.value)
        return try await NVMeController.attach(transport, on: reactor, options: options)
    }

    func change<Failure: Error>(
        _ body: @Sendable (SoftEngine) throws(Failure) -> Void
    ) async throws(Failure) {
        let engine = engine
        try await reactor.run { _ throws(Failure) in try body(engine.value) }
    }

    /// Whether the host has said that it understands retry delays (feature 16h).
    public var namesRetryDelays: Bool {
        get async {
            let engine = engine
            return await reactor.run { _ in engine.value.hostKnows.retryDelays }
        }
    }

    /// Powers it off. The driver must have been detached.
    public func powerOff() async {
        let engine = engine
        await reactor.run { local in
            if let poller = engine.value.poller { local.remove(poller) }
            engine.value.poller = nil
        }
    }
}

/// How the driver reaches it.
final class SoftTransport: ControllerTransport {
    let name: String
    let node: Int? = nil
    let registers: MMIO
    let domain: DMADomain
    let vectorCount = 0
    let isRemoved = false
    let quirks: NVMeQuirks
    /// By base address register.
    private let memories: [Int: MemoryRegion]

    init(_ options: SoftController.Options, _ engine: SoftEngine) {
        name = options.name
        quirks = options.quirks
        var memories: [Int: MemoryRegion] = [:]
        memories[SoftEngine.bufferRegister] = engine.buffer
        memories[SoftEngine.persistentRegister] = engine.persistent
        self.memories = memories
        registers = engine.registers
        // Not where this process has its memory, and with a hole, as real machines have them.
        domain = DMADomain(engine.mapper, usable: [0...0xFEDF_FFFF, 0xFEF0_0000...0x7F_FFFF_FFFF], granule: 4096)
    }

    func enableInterrupts(count: Int) throws(NVMeError) -> [FileDescriptor] {
        throw NVMeError(.notSupported, device: name, "a soft controller has no interrupts")
    }

    func baseAddressRegister(_ number: Int) -> MMIO? { memories[number].map { MMIO($0) } }

    func resetFunction() throws(NVMeError) {
        throw NVMeError(.notSupported, device: name, "a soft controller has no PCI function")
    }

    func close() {}
}
