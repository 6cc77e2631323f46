/// Opcodes of the admin queue (NVM Express Base Specification 2.0, figure 138).
public enum AdminOpcode {
    public static let deleteSubmissionQueue: UInt8 = 0x00
    public static let createSubmissionQueue: UInt8 = 0x01
    public static let getLogPage: UInt8 = 0x02
    public static let deleteCompletionQueue: UInt8 = 0x04
    public static let createCompletionQueue: UInt8 = 0x05
    public static let identify: UInt8 = 0x06
    public static let abort: UInt8 = 0x08
    public static let setFeatures: UInt8 = 0x09
    public static let getFeatures: UInt8 = 0x0A
    public static let asynchronousEventRequest: UInt8 = 0x0C
    public static let namespaceManagement: UInt8 = 0x0D
    public static let firmwareCommit: UInt8 = 0x10
    public static let firmwareImageDownload: UInt8 = 0x11
    public static let deviceSelfTest: UInt8 = 0x14
    public static let namespaceAttachment: UInt8 = 0x15
    public static let keepAlive: UInt8 = 0x18
    public static let directiveSend: UInt8 = 0x19
    public static let directiveReceive: UInt8 = 0x1A
    public static let virtualizationManagement: UInt8 = 0x1C
    public static let doorbellBufferConfig: UInt8 = 0x7C
    public static let formatNVM: UInt8 = 0x80
    public static let securitySend: UInt8 = 0x81
    public static let securityReceive: UInt8 = 0x82
    public static let sanitize: UInt8 = 0x84
}

/// Opcodes of I/O queues (NVM Command Set Specification 1.0, figure 15; Zoned Namespace Command Set Specification 1.1).
public enum IOOpcode {
    public static let flush: UInt8 = 0x00
    public static let write: UInt8 = 0x01
    public static let read: UInt8 = 0x02
    public static let writeUncorrectable: UInt8 = 0x04
    public static let compare: UInt8 = 0x05
    public static let writeZeroes: UInt8 = 0x08
    public static let datasetManagement: UInt8 = 0x09
    public static let verify: UInt8 = 0x0C
    public static let reservationRegister: UInt8 = 0x0D
    public static let reservationReport: UInt8 = 0x0E
    public static let reservationAcquire: UInt8 = 0x11
    public static let ioManagementReceive: UInt8 = 0x12
    public static let reservationRelease: UInt8 = 0x15
    public static let copy: UInt8 = 0x19
    public static let ioManagementSend: UInt8 = 0x1D
    public static let zoneManagementSend: UInt8 = 0x79
    public static let zoneManagementReceive: UInt8 = 0x7A
    public static let zoneAppend: UInt8 = 0x7D
}
