package import Reactors
package import SystemPackage

/// What stands between the driver and a controller: a PCI function that VFIO hands over, the kernel's driver, or a soft
/// controller in this process. Its registers are memory, its queues are memory; the driver does not know which it is.
///
/// All calls but the first six properties are made on the control path, one at a time.
package protocol ControllerTransport: AnyObject, Sendable {
    /// What people call the device: `0000:3b:00.0`.
    var name: String { get }
    /// The NUMA node it is attached to; nil: unknown, or there is but one.
    var node: Int? { get }
    /// Base address register 0: the controller's registers and doorbells.
    var registers: MMIO { get }
    /// The memory that the device may reach.
    var domain: DMADomain { get }
    /// An IOMMU translates what the device reaches.
    var hasIOMMU: Bool { get }
    /// What the device is known for.
    var quirks: NVMeQuirks { get }
    /// How many interrupt vectors there are; 0: completions can only be polled for.
    var vectorCount: Int { get }
    /// The device was pulled out: its registers read as ones, and nothing comes back. Any thread may ask.
    var isRemoved: Bool { get }
    /// Has the device signal `count` vectors from now on, each by an event of its own, which counts its interrupts
    /// (eventfd(2)). Called at most once.
    func enableInterrupts(count: Int) throws(NVMeError) -> [FileDescriptor]
    /// Another base address register, for a controller memory buffer; nil: it is not there or cannot be mapped.
    func baseAddressRegister(_ number: Int) -> MMIO?
    /// Resets the PCI function, where it can be (PCI Express Base Specification, function level reset). Registers are
    /// as after power-on then.
    func resetFunction() throws(NVMeError)
    /// Gives the PCI function back what a reset of its subsystem may have taken from it behind the kernel's back: that
    /// it answers, moves data and interrupts.
    func restoreFunction() throws(NVMeError)
    /// Gives the device back. The last call; the domain has been closed.
    func close()
    /// How the controller is reached.
    var access: ControllerAccess { get }
    /// The most bytes of one command, whatever the controller takes, where commands are to say how many bytes they
    /// move: their data is named by SGLs only then, and lengths of metadata are in bits 55:32 of the descriptor. nil:
    /// the controller itself reads commands.
    var transferByteLimit: Int? { get }
    /// The device's side of a queue pair, visited after the pair in each turn; nil: a device works by itself. Called
    /// before the pair's queues are made.
    func deviceSide(ofQueue id: UInt16, on local: isolated LocalReactor) -> Poller?
}

extension ControllerTransport {
    package var hasIOMMU: Bool { false }
    package var quirks: NVMeQuirks { [] }
    package func restoreFunction() throws(NVMeError) {}
    package var access: ControllerAccess { ControllerAccess(.direct) }
    package var transferByteLimit: Int? { nil }
    package func deviceSide(ofQueue id: UInt16, on local: isolated LocalReactor) -> Poller? { nil }
}
