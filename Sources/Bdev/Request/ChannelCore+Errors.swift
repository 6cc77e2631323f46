import Reactors
import SystemPackage

extension ChannelCore {
    // SAFETY: the slot is the caller's, and its status is final.
    @inline(never)
    func error(_ slot: Slot) -> BdevError {
        let (type, start, count) = unsafe (slot.pointee.type, slot.pointee.startBlock, slot.pointee.blockCount)
        let what = count == 0 ? "\(type) failed" : "\(type) of \(count) blocks at block \(start) failed"
        if unsafe slot.pointee.hasExtras && slot.pointee.extras.isLate {
            return unsafe BdevError(
                .timedOut, bdev: bdev.name, "\(what) after its deadline", status: slot.pointee.status)
        }
        return unsafe error(slot.pointee.status, what)
    }

    func error(_ status: IOStatus, _ what: String) -> BdevError {
        BdevError(Self.code(status), bdev: bdev.name, what, status: status)
    }

    private static func code(_ status: IOStatus) -> BdevError.Code {
        switch status.code {
        case .aborted: .aborted
        case .miscompare: .miscompare
        case .noMemory: .noMemory
        case .systemError: code(Errno(rawValue: status.detail))
        case .nvmeError: status == .zoneIsFull ? .noSpace : .deviceFailed
        case .success, .pending, .failed, .scsiError, .firstFusedFailed: .deviceFailed
        }
    }

    private static func code(_ errno: Errno) -> BdevError.Code {
        switch errno {
        case .noSpace, Errno(rawValue: 122): .noSpace  // EDQUOT
        case .ioError: .mediaError
        case .notSupported: .notSupported
        case .permissionDenied, .notPermitted, .readOnlyFileSystem: .notPermitted
        case .noMemory: .noMemory
        case .canceled: .aborted
        case .operationNotSupportedByDevice: .removed
        default: .deviceFailed
        }
    }
}
