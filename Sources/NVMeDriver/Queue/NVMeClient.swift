public import Reactors

/// Whoever gives commands to a queue pair: subclass it, and ``NVMeQueuePair/add(_:)`` it. Used on the pair's reactor
/// only.
open class NVMeClient {
    /// A command has ended. It may give others.
    ///
    /// Never called from within the call that gave the command. `token`: as given with it.
    open func commandCompleted(token: UInt64, _ completion: NVMeCompletion) {}

    /// The same, of a command that was given buffers: here they are again, as they were given or with what the
    /// controller has put in them. As long as it is not overridden it drops them and calls the other.
    open func commandCompleted(
        token: UInt64, _ completion: NVMeCompletion, data: consuming IOBuffer?, metadata: consuming IOBuffer?
    ) {
        _ = consume data
        _ = consume metadata
        commandCompleted(token: token, completion)
    }

    /// After a refusal: there is a free request again. Give what was kept, in order, until refused again.
    open func queueHasRoom() {}

    /// It was refused, and will be told when there is room.
    final var wantsRoom = false

    public init() {}
}
