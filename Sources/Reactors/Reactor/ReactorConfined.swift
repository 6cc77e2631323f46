/// A value that belongs to one reactor, on its way between actors and tasks of that reactor.
///
/// Unchecked Sendable: the compiler does not know that they share a thread; whoever makes one sees to it that they do.
@usableFromInline
package struct ReactorConfined<Value>: @unchecked Sendable {
    @usableFromInline package let value: Value
    package init(_ value: Value) { self.value = value }
}
