import Synchronization

// SAFETY (below): the words are initialized as long as self lives, and every index is checked against their number.

/// A fixed number of words, each of which any thread changes in one atomic step.
///
/// Cost: one allocation for all of them; an operation costs a check of its index besides the atomic instruction.
@safe package final class AtomicWords: @unchecked Sendable {
    private let words: UnsafeMutablePointer<Atomic<UInt64>>
    package let count: Int

    /// All words are `value` at first.
    package init(count: Int, repeating value: UInt64) {
        precondition(count > 0, "there is at least one word")
        self.count = count
        unsafe words = .allocate(capacity: count)
        for index in 0..<count { unsafe (words + index).initialize(to: Atomic(value)) }
    }

    deinit {
        unsafe words.deinitialize(count: count)
        unsafe words.deallocate()
    }

    @inline(__always)
    private func word(_ index: Int) -> UnsafeMutablePointer<Atomic<UInt64>> {
        precondition(index >= 0 && index < count, "there is no such word")
        return unsafe words + index
    }

    /// The word as it is, and with it what whoever changed it last had done before.
    package func load(_ index: Int) -> UInt64 { unsafe word(index).pointee.load(ordering: .acquiring) }

    /// Makes the word `new` if it is `old`. Nil when it was; otherwise what it is.
    package func exchange(_ index: Int, _ old: UInt64, _ new: UInt64) -> UInt64? {
        let (isDone, found) = unsafe word(index).pointee.compareExchange(
            expected: old, desired: new, ordering: .acquiringAndReleasing)
        return isDone ? nil : found
    }

    /// Takes `value` off the word, which is at least as large.
    package func subtract(_ index: Int, _ value: UInt64) {
        unsafe _ = word(index).pointee.subtract(value, ordering: .acquiringAndReleasing)
    }
}
