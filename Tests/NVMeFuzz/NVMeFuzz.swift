import CFuzz
import NVMeFuzzing

// SAFETY (below): libFuzzer lends the bytes for the length of the call, and the arguments are the process's own.

/// `make fuzz`: libFuzzer alters what a controller answers the driver.
@main
enum NVMeFuzz {
    static func main() {
        let status = unsafe fuzz_driver_run(CommandLine.argc, CommandLine.unsafeArgv) { data, count in
            let script = unsafe Array(UnsafeBufferPointer(start: data, count: count))
            // Files that are run again.
            let isVerbose = !CommandLine.arguments.dropFirst().contains { $0.hasPrefix("-") }
            for (isZoned, isProtected) in [(false, false), (true, false), (false, true)] {
                do {
                    try ControllerFuzzing.run(
                        script, isZoned: isZoned, isProtected: isProtected, isVerbose: isVerbose)
                } catch { fatalError("\(error)") }
            }
            return 0
        }
        if status < 0 { fatalError("this was not built for fuzzing: use `make fuzz`") }
    }
}
