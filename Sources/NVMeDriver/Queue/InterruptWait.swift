import Reactors
import SystemPackage

/// Has a controller's interrupt end the reactor's sleep: a read of the vector's event (eventfd(2)) is always under way
/// in the reactor's ring. The completion queue is looked at in the turn that follows.
final class InterruptWait: RingClient {
    private let ring: Ring
    private let file: RingFile
    private let count: IOBuffer
    private var isClosing = false
    /// Interrupts that have come.
    private(set) var interruptCount: UInt64 = 0

    /// `count`: a buffer of 8 bytes.
    init(on ring: Ring, event: FileDescriptor, count: consuming IOBuffer) {
        self.ring = ring
        self.count = count
        file = RingFile(event)
        super.init()
        ring.add(self)
        wait()
    }

    private func wait() { _ = ring.read(file, at: 0, into: count.memory, token: 0, for: self) }

    override func ringHasRoom() { if outstanding == 0, !isClosing { wait() } }

    override func ringCompleted(token: UInt64, result: Int32) {
        if isClosing { return ring.remove(self) }
        interruptCount &+= 1
        wait()
    }

    /// No more interrupts are waited for.
    func close() {
        isClosing = true
        if outstanding > 0 { _ = ring.cancel(token: 0, for: self) } else { ring.remove(self) }
    }
}
