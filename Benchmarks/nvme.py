#!/usr/bin/env python3
"""Measures the NVMe driver: instructions and allocations of a command, and its speed beside the kernel's driver.

Instructions are counted on the soft controller, and compared with the goals and with nvme.json. Allocations are counted in
the guest (Scripts/vm), where there are controllers that allocate nothing in the process: there may be none. The speed is
measured in the same boot, in turn on the same controller: what counts is the ratio, not the figures, which an emulated
processor and its neighbors make.
Exit status: 0 when all is as it should be, 1 when something is worse, 2 for a mistake on the command line,
3 when nothing is worse but something did not run or has nothing to be compared with.
"""

import argparse
import json
import os
import re
import statistics
import subprocess
import sys

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.dirname(os.path.realpath(__file__)))

import compare
import measure
import record
from measure import DidNotRun, ROOT, WORK
from scenarios import Scenario, TRIES

RECORDED = measure.FOLDER / "nvme.json"
# Of a 4 KiB read at depth 32, given and ended: in the driver alone, and through a bdev and the driver.
COUNTED = [
    Scenario("driver", "--soft", goal=450, compares_allocations=False),
    Scenario("through_bdev", "--soft --bdev", goal=900, compares_allocations=False),
]
# The ways of Scripts/guest/bench that are the driver's. Allocations have no threshold but none.
WAYS = [Scenario(name, "", compares_instructions=False)
        for name in ("direct", "direct-bdev", "passthrough", "passthrough-bdev")]
LENGTHS = (20_000, 60_000)
DEPTH = 32
# What two runs that last as long may differ by without an I/O having allocated anything: a timer more or less, a start
# that took longer. On the kernel's driver those read sysfs, ten times a second.
TIMER_ALLOCATIONS = {"direct": 16, "passthrough": 240}
COUNTING_SECONDS = 2
# Both keep no data. What takes 20 ms for a command is as good as idle.
DRIVES = ("fast,backend=null,size=1G,lba=4096", "slow,backend=slow,size=1G,lba=4096")


def build():
    flags = ["-c", "release", "--static-swift-stdlib", "-Xlinker", "--strip-debug", "-j", os.environ.get("JOBS", "2")]
    subprocess.run(["swift", "build", *flags, "--product", "nvme-perf"], cwd=ROOT, check=True)
    return ROOT / ".build/release/nvme-perf"


# MARK: Instructions

def inclusive(program, number, scenario):
    """Instructions of each function and of all that it calls, by its name, for a number of I/Os."""
    WORK.mkdir(exist_ok=True)
    output = WORK / "callgrind.out.nvme"
    try:
        measure.run(["valgrind", "--tool=callgrind", "--fair-sched=yes", f"--callgrind-out-file={output}", program,
                     *scenario.arguments.split(), "-q", DEPTH, "-w", "randread", "-o", "4096", "--number-ios", number,
                     "--disable-cpumask-locks"])
        listing = measure.run(["callgrind_annotate", "--inclusive=yes", "--threshold=100", "--auto=no", output]).stdout
    finally:
        output.unlink(missing_ok=True)
    result = {}
    for line in listing.splitlines():
        match = re.match(r"\s*([\d,]+) \([^)]*\)\s+(?:\S*?:)?(\$s\S+)", line)
        if match:
            result[match[2]] = int(match[1].replace(",", ""))
    return result


def counted(program, scenario):
    """A function that says what the functions of a name cost for each I/O."""
    short, long = (inclusive(program, number, scenario) for number in LENGTHS)
    names = subprocess.run(["swift", "demangle", "--compact"], input="\n".join(long), capture_output=True, text=True,
                           check=True).stdout.splitlines()

    def cost(prefix):
        rows = [(long[symbol] - short.get(symbol, 0)) / (LENGTHS[1] - LENGTHS[0])
                for symbol, name in zip(long, names) if name.startswith(prefix)]
        if not rows:
            raise DidNotRun(f"callgrind lists no function '{prefix}'")
        # Of several the outermost.
        return max(rows)

    return cost


def instructions(program):
    """Of a command: what the driver spends, what the tool's own loop does, and the rest of the reactor's turn. And of a
    read of a bdev: what the layer, its module and the driver spend together."""
    cost, bdev = (counted(program, scenario) for scenario in COUNTED)
    controller = cost("NVMeSoftController.SoftEngine.poll()")
    # The poller of I/O queue pairs: how often that of the admin queue comes by is a matter of time.
    poller = "NVMeDriver.(QueuePoller in "
    visit = cost(poller)
    rest = cost("Reactors.ReactorLoop.turn()") - controller - visit - cost("NVMeDriver.(AdminPoller in ")
    submit = cost("NVMeDriver.NVMeQueuePair.submit(")
    told = cost("nvme_perf.NVMeWorker.commandCompleted(")
    own = bdev("nvme_perf.BdevWorker.ioCompleted(") - bdev("Bdev.EngineChannel.read(")
    return {
        "driver": round(visit - told + submit), "tool": round(told - submit),
        "turn": round(rest), "soft_controller": round(controller), "through_bdev": round(bdev(poller) - own),
    }


# MARK: The guest

def boot(program, library, options, rounds):
    """The lines that Scripts/guest/bench prints: counts of allocations, and so many rounds of speeds."""
    drives = [part for drive in DRIVES for part in ("--drive", drive)]
    # Far more than it takes: a round has eight runs.
    limit = round(200 + rounds * 8 * (options.seconds + 2))
    command = [ROOT / "Scripts/vm", *drives, "--limit", limit, "--", ROOT / "Scripts/guest/bench", program,
               options.poll_queues, library, COUNTING_SECONDS, rounds, options.seconds]
    # Its messages pass: there is more to say of what goes wrong there than a line.
    result = subprocess.run([str(part) for part in command], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True,
                            errors="replace")
    lines = result.stdout.splitlines()
    if result.returncode != 0:
        print("\n".join(lines[-5:]), file=sys.stderr)
        raise DidNotRun(f"the guest ended with status {result.returncode}")
    return lines


def differences(lines):
    """What each way allocates in a run on the fast drive, less what it does in one that lasts as long on the slow one, so
    that start, end and timers drop out; and in how many I/Os."""
    runs = {}
    for line in lines:
        match = re.fullmatch(r"allocations (\S+) (fast|slow) (\d+) (\{.*\})", line)
        if match:
            runs.setdefault(match[1], {})[match[2]] = int(match[3]), json.loads(match[4])["total"]["io_completed"]
    for way in (scenario.name for scenario in WAYS):
        if len(runs.get(way, {})) != 2:
            raise DidNotRun(f"the guest counted no allocations of {way}")
    return {way: tuple(fast - slow for fast, slow in zip(both["fast"], both["slow"])) for way, both in runs.items()}


def allocations(lines):
    """Allocations in a million I/Os of each way."""
    result = {}
    for way, (count, ios) in differences(lines).items():
        few = TIMER_ALLOCATIONS[way.split("-")[0]]
        # A single allocation in each turn, of as many I/Os as are in flight, must show.
        if ios < 2 * DEPTH * few:
            raise DidNotRun(f"{ios} I/Os of {way} are too few to count allocations by: the machine is too slow")
        result[way] = round(max(0, count - few) * 1_000_000 / ios, 1)
    return result


def speeds(lines):
    """I/Os a second. Neighbors only ever slow a run down: beside the medians, and the median of each round's own ratio to
    the kernel's, stands the best of each."""
    runs, polled = {}, None
    for line in lines:
        match = re.fullmatch(r"speed \d+ (\S+) (\d+) (\{.*\})", line)
        if match:
            iops = json.loads(match[3])["total"]["iops"]
            runs.setdefault(int(match[2]), {}).setdefault(match[1], []).append(iops)
        elif line in ("polled 0", "polled 1"):
            polled = line == "polled 1"
    if not runs:
        raise DidNotRun("the guest measured no speed")
    result = {"passthrough_polls": polled}
    for depth, ways in sorted(runs.items()):
        kernel = ways["kernel"]
        result[f"q{depth}"] = {
            way: {"iops": round(statistics.median(own)), "best": round(max(own))}
            | ({} if way == "kernel" else {
                "ratio": round(statistics.median(a / b for a, b in zip(own, kernel)), 2),
                "ratio_of_best": round(max(own) / max(kernel), 2)})
            for way, own in ways.items()}
    return result


# MARK: Judging

def judge(scenario, result, recorded):
    """A word for a count, and the reasons. `recorded`: what nvme.json has; the goals hold whatever it has."""
    if scenario.compares_allocations:
        return compare.verdict(scenario, {"allocations_per_million": result}, {"allocations_per_million": 0})
    threshold = {"instructions": recorded[scenario.name]} if scenario.name in recorded else None
    word, why = compare.verdict(scenario, {"instructions": result}, threshold)
    if result > scenario.goal:
        return compare.REGRESSED, [f"{result} instructions, and the goal is {scenario.goal}"] + (
            why if word == compare.REGRESSED else [])
    return word, why


def judged(scenarios, results, recorded):
    return {scenario.name: judge(scenario, results[scenario.name], recorded) for scenario in scenarios}


def least(count, scenarios, recorded):
    """Counts until nothing is worse, at most `TRIES` times, and keeps the least of each."""
    best = None
    for _ in range(TRIES):
        result = count()
        best = result if best is None else {name: min(best[name], result[name]) for name in result}
        if all(word != compare.REGRESSED for word, _ in judged(scenarios, best, recorded).values()):
            break
    return best


def table(results, recorded, verdicts):
    rows = [["a 4 KiB read", "instructions", "recorded", "goal", "allocations/million", "verdict"]]
    for scenario in COUNTED + WAYS:
        if scenario.name not in verdicts:
            continue
        count = results.get("instructions", {}).get(scenario.name)
        allocated = results.get("allocations_per_million", {}).get(scenario.name)
        rows.append([scenario.name] + ["-" if value is None else str(value) for value in (
            count, recorded.get(scenario.name), scenario.goal, allocated)] + [verdicts[scenario.name][0]])
    return compare.table(rows)


# MARK: All of it

def parse():
    parser = argparse.ArgumentParser(prog="Benchmarks/nvme.py", description=__doc__.split("\n\n")[0])
    parser.add_argument("--ci", action="store_true", help="only what is compared: no speeds")
    parser.add_argument("--count", action="store_true", help="only the instructions: needs no guest")
    parser.add_argument("--rounds", type=int, default=7, help="runs of each kind in the guest (7)")
    parser.add_argument("--seconds", type=float, default=1, help="of each run (1)")
    parser.add_argument("--poll-queues", type=int, default=1, help="queues of the kernel's driver that are polled (1)")
    parser.add_argument("--update", action="store_true", help="record the results, and compare with the goals only")
    parser.add_argument("--program", metavar="PATH", type=os.path.realpath,
                        help="measure this program instead of building nvme-perf")
    return parser.parse_args()


def main():
    options = parse()
    committed = json.loads(RECORDED.read_text()) if RECORDED.exists() else {"recorded": {}}
    environment = compare.environment()
    for key, value in environment.items():
        if committed["recorded"] and committed.get(key) != value:
            print(f"nvme: recorded was {key} {committed.get(key)}, and this is {value}", file=sys.stderr)
    recorded = {} if options.update else committed["recorded"].get("instructions", {})
    results, verdicts, words, reasons = {}, {}, [], []

    def attempt(part):
        try:
            part()
        except (subprocess.CalledProcessError, DidNotRun) as error:
            words.append(compare.DID_NOT_RUN)
            reasons.append(f"did not run: {error}")

    def count():
        results["instructions"] = least(lambda: instructions(program), COUNTED, recorded)
        verdicts.update(judged(COUNTED, results["instructions"], recorded))

    def use_guest():
        library = measure.build_interposer()
        rounds = 0 if options.ci else options.rounds
        boots = [boot(program, library, options, rounds)]
        if rounds:
            results["guest"] = speeds(boots[0])

        def count_allocations():
            lines = boots.pop() if boots else boot(program, library, options, 0)
            for way, (more, ios) in differences(lines).items():
                print(f"nvme: {way}: {more:+} allocations with {ios} I/Os", file=sys.stderr)
            return allocations(lines)

        results["allocations_per_million"] = least(count_allocations, WAYS, recorded)
        verdicts.update(judged(WAYS, results["allocations_per_million"], recorded))

    try:
        program = options.program or build()
    except (OSError, subprocess.CalledProcessError) as error:
        print(f"nvme: did not run: {error}", file=sys.stderr)
        return 3
    attempt(count)
    if not options.count:
        attempt(use_guest)

    print(table(results, committed["recorded"].get("instructions", {}), verdicts))
    for name, values in results.items():
        print(f"{name}: {json.dumps(values)}")
    if options.update:
        document = {**environment, **record.machine(), "recorded": {**committed["recorded"], **results}}
        RECORDED.write_text(json.dumps(document, indent=2) + "\n")
        verdicts = {name: (word, why) for name, (word, why) in verdicts.items() if word != compare.NEW}
    words += [word for word, _ in verdicts.values()]
    reasons += [f"{name}: {word}: {reason}" for name, (word, why) in verdicts.items() for reason in why]
    for reason in reasons:
        print(f"nvme: {reason}", file=sys.stderr)
    return compare.exit_status(words)


if __name__ == "__main__":
    sys.exit(main())
