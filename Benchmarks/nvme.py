#!/usr/bin/env python3
"""Measures the NVMe driver: instructions of a command on the soft controller, and its speed beside the kernel's driver.

The instructions are compared with the goal. The speed is measured in one boot of the guest (Scripts/vm), in turn on the same
controller: what counts is the ratio, not the figures, which an emulated processor and its neighbors make.
Exit status: 0, or 1 when the goal for instructions is not met, or 3 when something did not run.
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

RECORDED = measure.FOLDER / "nvme.json"
# Of a 4 KiB read at depth 32, given and ended: in the driver alone, and through a bdev and the driver.
GOALS = {"driver": 450, "through_bdev": 900}
LENGTHS = (20_000, 60_000)
DRIVE = "bench,backend=null,size=1G,lba=4096"


def build():
    flags = ["-c", "release", "--static-swift-stdlib", "-Xlinker", "--strip-debug", "-j", os.environ.get("JOBS", "2")]
    for product in ("nvme-perf", "nvme-identify"):
        subprocess.run(["swift", "build", *flags, "--product", product], cwd=ROOT, check=True)
    return ROOT / ".build/release"


def inclusive(program, number, *arguments):
    """Instructions of each function and of all that it calls, by its name, for a number of I/Os."""
    WORK.mkdir(exist_ok=True)
    output = WORK / "callgrind.out.nvme"
    try:
        measure.run(["valgrind", "--tool=callgrind", f"--callgrind-out-file={output}", program, "--soft", "-q", "32",
                     "-w", "randread", "-o", "4096", "--number-ios", str(number), "--disable-cpumask-locks", *arguments])
        listing = measure.run(["callgrind_annotate", "--inclusive=yes", "--threshold=100", "--auto=no", output]).stdout
    finally:
        output.unlink(missing_ok=True)
    result = {}
    for line in listing.splitlines():
        match = re.match(r"\s*([\d,]+) \([^)]*\)\s+(?:\S*?:)?(\$s\S+|PROGRAM TOTALS)", line)
        if match:
            result[match[2]] = int(match[1].replace(",", ""))
    return result


def counted(tools, *arguments):
    """A function that says what the functions of a name cost for each I/O."""
    short, long = (inclusive(tools / "nvme-perf", number, *arguments) for number in LENGTHS)
    names = subprocess.run(["swift", "demangle", "--compact"], input="\n".join(long), capture_output=True, text=True,
                           check=True).stdout.splitlines()

    def cost(*parts):
        rows = [(long[symbol] - short.get(symbol, 0)) / (LENGTHS[1] - LENGTHS[0])
                for symbol, name in zip(long, names) if name.startswith(parts[0]) and all(p in name for p in parts)]
        if not rows:
            raise DidNotRun(f"callgrind lists no function '{' '.join(parts)}'")
        return max(rows)

    return cost


def instructions(tools):
    """Of a command: what the driver spends, what the tool's own loop does, and the rest of the reactor's turn. And of a
    read of a bdev: what the layer, its module and the driver spend together."""
    cost = counted(tools)
    total = cost("PROGRAM TOTALS")
    controller = cost("NVMeSoftController.SoftEngine.poll()")
    visit = cost("NVMeDriver.NVMeQueuePair.poll()")
    submit = cost("NVMeDriver.NVMeQueuePair.submit(", "data: Reactors.IOMemory?")
    told = cost("nvme_perf.NVMeWorker.commandCompleted(")
    bdev = counted(tools, "--bdev")
    own = bdev("nvme_perf.BdevWorker.ioCompleted(") - bdev("Bdev.EngineChannel.read(")
    return {
        "driver": round(visit - told + submit), "tool": round(told - submit),
        "turn": round(total - controller - visit), "soft_controller": round(controller),
        "through_bdev": round(bdev("NVMeDriver.NVMeQueuePair.poll()") - own),
    }


def speed(tools, rounds, seconds):
    """I/Os a second. Neighbors only ever slow a run down: beside the medians, and the median of each round's own ratio,
    stands the best of each driver."""
    text = measure.run([ROOT / "Scripts/vm", "--drive", DRIVE, "--limit", "280", "--", ROOT / "Scripts/guest/bench", tools,
                        rounds, seconds]).stdout
    runs = {}
    for line in text.splitlines():
        fields = line.split()
        if len(fields) == 4 and fields[1] in ("ours", "kernel"):
            runs.setdefault(int(fields[2]), {}).setdefault(fields[1], []).append(int(fields[3]))
    if not runs:
        raise DidNotRun("the guest measured nothing")
    return {
        f"q{depth}": {
            "ours_iops": round(statistics.median(both["ours"])),
            "kernel_iops": round(statistics.median(both["kernel"])),
            "ratio": round(statistics.median(a / b for a, b in zip(both["ours"], both["kernel"])), 2),
            "ours_best": max(both["ours"]), "kernel_best": max(both["kernel"]),
            "ratio_of_best": round(max(both["ours"]) / max(both["kernel"]), 2),
        } for depth, both in sorted(runs.items())
    }


def main():
    parser = argparse.ArgumentParser(prog="Benchmarks/nvme.py", description=__doc__.split("\n\n")[0])
    parser.add_argument("--count", action="store_true", help="only the instructions: needs no guest")
    parser.add_argument("--rounds", type=int, default=7, help="runs of each kind in the guest (7)")
    parser.add_argument("--seconds", type=float, default=1, help="of each run (1)")
    parser.add_argument("--update", action="store_true", help="record the results")
    options = parser.parse_args()
    results = {}
    try:
        tools = build()
        results["instructions"] = instructions(tools)
        if not options.count:
            results["guest"] = speed(tools, options.rounds, options.seconds)
    except (subprocess.CalledProcessError, DidNotRun) as error:
        print(f"nvme: did not run: {error}", file=sys.stderr)
        return 3
    for name, values in results.items():
        print(f"{name}: {json.dumps(values)}")
    if options.update:
        before = json.loads(RECORDED.read_text())["recorded"] if RECORDED.exists() else {}
        document = {**compare.environment(), **record.machine(), "recorded": {**before, **results}}
        RECORDED.write_text(json.dumps(document, indent=2) + "\n")
    missed = [name for name, goal in GOALS.items() if results["instructions"][name] > goal]
    for name in missed:
        print(f"nvme: {name}: a read costs more than {GOALS[name]} instructions", file=sys.stderr)
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
