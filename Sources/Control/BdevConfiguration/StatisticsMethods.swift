import Bdev
import FoundationEssentials
import Reactors

/// `bdev_get_iostat`: what bdevs have done, in SPDK's words. Latencies are in ticks, of which there are `tick_rate` in
/// a second; times are in microseconds.
struct GetStatistics: ConfigurationMethod {
    struct Parameters: Sendable {
        /// nil: all.
        var names: [String]?
        var isPerChannel: Bool
        var reset: StatisticsReset
    }

    let name = "bdev_get_iostat"

    func decode(_ reader: inout ParameterReader) throws(ConfigurationError) -> Parameters {
        let parameters = Parameters(
            names: try reader.names(), isPerChannel: try reader.bool("per_channel") ?? false,
            reset: try reader.reset("reset_mode") ?? .none)
        if parameters.isPerChannel, parameters.names?.count != 1 {
            throw reader.error(
                .outOfRange, "per_channel", "the channels of one bdev can be shown, not of several",
                advice: "name exactly one")
        }
        return parameters
    }

    func apply(_ parameters: Parameters, to engine: BdevEngine) async throws(BdevError) -> ConfigurationOutcome {
        let clock = engine.reactors[0].backend.clock
        var result: [String: JSONValue] = [
            "tick_rate": .unsigned(clock.ticksPerSecond), "ticks": .unsigned(clock.now()),
        ]
        if parameters.isPerChannel, let name = parameters.names?.first {
            let channels = try await engine.channelStatistics(name, reset: parameters.reset)
            result["name"] = .string(name)
            result["channels"] = .array(
                channels.map { channel in
                    var object = Self.object(channel.statistics)
                    object["thread_id"] = .unsigned(UInt64(channel.reactor.index))
                    return .object(object)
                })
            return ConfigurationOutcome(result: .object(result))
        }
        var bdevs: [JSONValue] = []
        if let names = parameters.names {
            for name in names { bdevs.append(try await Self.object(engine, name, parameters.reset)) }
        } else {
            for bdev in await engine.list() {
                // It may have gone since it was listed.
                if let object = try? await Self.object(engine, bdev.name, parameters.reset) { bdevs.append(object) }
            }
        }
        result["bdevs"] = .array(bdevs)
        return ConfigurationOutcome(result: .object(result))
    }

    private static func object(
        _ engine: BdevEngine, _ name: String, _ reset: StatisticsReset
    ) async throws(BdevError) -> JSONValue {
        let own = try await engine.driverStatistics(of: name)
        let statistics = try await engine.statistics(name, reset: reset)
        var object = object(statistics)
        object["name"] = .string(name)
        object["num_retries"] = .unsigned(statistics.retryCount)
        object["io_error"] = .object(
            Dictionary(uniqueKeysWithValues: statistics.errors.map { ($0.key.name, .unsigned($0.value)) }))
        if let samples = try await engine.queueDepthSamples(of: name) {
            object["queue_depth_polling_period"] = .unsigned(samples.period.microseconds)
            object["queue_depth"] = .unsigned(samples.depth.map(UInt64.init) ?? .max)
            object["io_time"] = .unsigned(samples.busyTime.microseconds)
            object["weighted_io_time"] = .unsigned(samples.weightedTime.microseconds)
        }
        if !own.isEmpty { object["driver_specific"] = JSONValue(.fields(own)) }
        return .object(object)
    }

    private static func object(_ statistics: IOStatistics) -> [String: JSONValue] {
        var object: [String: JSONValue] = [:]
        func add(_ counters: IOCounters, _ kind: String, bytes: String) {
            object["bytes_\(bytes)"] = .unsigned(counters.byteCount)
            object["num_\(kind)_ops"] = .unsigned(counters.operationCount)
            object["\(kind)_latency_ticks"] = .unsigned(counters.latencyTicks)
            object["max_\(kind)_latency_ticks"] = .unsigned(counters.maximumLatencyTicks)
            let isSet = counters.minimumLatencyTicks != .max
            object["min_\(kind)_latency_ticks"] = .unsigned(isSet ? counters.minimumLatencyTicks : 0)
        }
        add(statistics.read, "read", bytes: "read")
        add(statistics.write, "write", bytes: "written")
        add(statistics.unmap, "unmap", bytes: "unmapped")
        add(statistics.copy, "copy", bytes: "copied")
        return object
    }
}

/// `bdev_reset_iostat`: begins the figures of a bdev, or of all, anew.
struct ResetStatistics: ConfigurationMethod {
    let name = "bdev_reset_iostat"

    func decode(
        _ reader: inout ParameterReader
    ) throws(ConfigurationError) -> (names: [String]?, reset: StatisticsReset) {
        (try reader.names(), try reader.reset("mode") ?? .all)
    }

    func apply(
        _ parameters: (names: [String]?, reset: StatisticsReset), to engine: BdevEngine
    ) async throws(BdevError) -> ConfigurationOutcome {
        if let names = parameters.names {
            for name in names { try await engine.resetStatistics(name, parameters.reset) }
        } else {
            for bdev in await engine.list() {
                // It may have gone since it was listed.
                try? await engine.resetStatistics(bdev.name, parameters.reset)
            }
        }
        return ConfigurationOutcome()
    }
}

/// `bdev_set_qd_sampling_period`: looks at a bdev's queue depth every so many microseconds; 0 ends it.
struct SampleQueueDepth: ConfigurationMethod {
    let name = "bdev_set_qd_sampling_period"

    func decode(
        _ reader: inout ParameterReader
    ) throws(ConfigurationError) -> (name: String, period: Duration?) {
        let name = try reader.requiredString("name")
        let period = try reader.requiredInteger("period", in: 0...UInt64(Int64.max))
        return (name, period == 0 ? nil : .microseconds(Int64(period)))
    }

    func apply(
        _ parameters: (name: String, period: Duration?), to engine: BdevEngine
    ) async throws(BdevError) -> ConfigurationOutcome {
        let before = try await engine.queueDepthSamples(of: parameters.name)?.period
        try await engine.sampleQueueDepth(of: parameters.name, every: parameters.period)
        return ConfigurationOutcome {
            // Only fails when the bdev is gone, and its samples with it.
            try? await engine.sampleQueueDepth(of: parameters.name, every: before)
        }
    }
}

/// `bdev_enable_histogram`: begins or ends recording a bdev's latencies, of one kind of I/O or of all.
struct RecordLatencies: ConfigurationMethod {
    struct Parameters: Sendable {
        let name: String
        /// None: recording ends.
        var types: IOTypes
        var namesRange: Bool
    }

    let name = "bdev_enable_histogram"

    func decode(_ reader: inout ParameterReader) throws(ConfigurationError) -> Parameters {
        let name = try reader.requiredString("name")
        guard let isOn = try reader.bool("enable") else {
            throw ConfigurationError(
                .missingKey, path: reader.path, "the parameter \"enable\" is missing", advice: "add it")
        }
        var types = IOTypes.all
        if let text = try reader.string("opc"), !text.isEmpty {
            guard let type = IOType(named: text) else {
                throw reader.error(
                    .outOfRange, "opc", "\"\(text)\" is no kind of I/O", advice: "write read, write or the like")
            }
            types = IOTypes(type)
        }
        let granularity = try reader.integer("granularity", in: 0...UInt64(UInt8.max))
        let range = (try reader.integer("min_nsec"), try reader.integer("max_nsec"))
        return Parameters(
            name: name, types: isOn ? types : [],
            namesRange: granularity != nil || range.0 != nil || range.1 != nil)
    }

    func apply(_ parameters: Parameters, to engine: BdevEngine) async throws(BdevError) -> ConfigurationOutcome {
        try await engine.recordLatencies(of: parameters.name, types: parameters.types)
        let notice =
            "the histogram of \(parameters.name) has every latency, in buckets of 1.6 %: its granularity, min_nsec and "
            + "max_nsec are ignored"
        return ConfigurationOutcome(notice: parameters.namesRange ? notice : nil) {
            // Only fails when the bdev is gone, and what was recorded of it.
            try? await engine.recordLatencies(of: parameters.name, types: [])
        }
    }
}

/// `bdev_get_histogram`: the latencies that were recorded of a bdev, of all directions together, as SPDK's
/// `histogram.py` reads them.
struct GetLatencies: ConfigurationMethod {
    let name = "bdev_get_histogram"

    func decode(_ reader: inout ParameterReader) throws(ConfigurationError) -> String {
        try reader.requiredString("name")
    }

    func apply(_ name: String, to engine: BdevEngine) async throws(BdevError) -> ConfigurationOutcome {
        let latencies = try await engine.latencies(of: name)
        var bytes = Data()
        for count in latencies.total.counts {
            for byte in 0..<8 { bytes.append(UInt8(truncatingIfNeeded: count >> UInt64(byte * 8))) }
        }
        let ranges = 64 - LatencyDistribution.granularity
        return ConfigurationOutcome(
            result: .object([
                "histogram": .string(bytes.base64EncodedString()),
                "granularity": .unsigned(UInt64(LatencyDistribution.granularity)), "min_range": .unsigned(0),
                "max_range": .unsigned(UInt64(ranges)), "tsc_rate": .unsigned(latencies.ticksPerSecond),
            ]))
    }
}

extension ParameterReader {
    /// The bdevs that are meant: `name`, or several as `names`; nil: all.
    fileprivate mutating func names() throws(ConfigurationError) -> [String]? {
        let (one, several) = (try string("name"), try strings("names"))
        if one != nil, several != nil {
            throw error(.outOfRange, "names", "there is a name already", advice: "use one of the two")
        }
        return several ?? one.map { [$0] }
    }

    fileprivate mutating func reset(_ key: String) throws(ConfigurationError) -> StatisticsReset? {
        switch try string(key) {
        case nil: return nil
        case "all": return .all
        case "maxmin": return .extremes
        case "error": return .errors
        case "none": return StatisticsReset.none
        case let other?:
            throw error(.outOfRange, key, "\"\(other)\" is no mode", advice: "write all, maxmin, error or none")
        }
    }
}

extension Duration {
    fileprivate var microseconds: UInt64 { UInt64(clamping: Int64(self / .microseconds(1))) }
}

extension IOStatus.Code {
    /// As SPDK names it.
    fileprivate var name: String {
        switch self {
        case .success: "success"
        case .pending: "pending"
        case .failed: "failed"
        case .nvmeError: "nvme_error"
        case .scsiError: "scsi_error"
        case .noMemory: "nomem"
        case .miscompare: "miscompare"
        case .firstFusedFailed: "first_fused_failed"
        case .aborted: "aborted"
        case .systemError: "aio_error"
        }
    }
}
