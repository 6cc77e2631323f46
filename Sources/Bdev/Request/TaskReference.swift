/// The task that waits for a request, to be asked whether it has been cancelled.
///
/// Kept as a word: the type that the library has for it is of a size known only at run time, and would make every slot so.
@safe struct TaskReference {
    private let bits: UInt

    static let none = TaskReference(bits: 0)

    /// The running task; none outside any.
    static var current: TaskReference {
        // SAFETY: the value is one pointer. It is used only while the task is parked on the request that holds it, and so alive.
        unsafe withUnsafeCurrentTask { task in
            unsafe TaskReference(bits: task.map { unsafe unsafeBitCast($0, to: UInt.self) } ?? 0)
        }
    }

    private init(bits: UInt) { self.bits = bits }

    var isCancelled: Bool {
        if bits == 0 { return false }
        // SAFETY: the bits came from a task in `current`.
        let task = unsafe unsafeBitCast(bits, to: UnsafeCurrentTask.self)
        let isCancelled = unsafe task.isCancelled
        return isCancelled
    }
}
