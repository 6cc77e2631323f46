"""Counts instructions and allocations of an I/O, each as the difference of two run lengths."""

import json
import os
import re
import shutil
import subprocess
import tempfile
from contextlib import contextmanager
from pathlib import Path

FOLDER = Path(__file__).resolve().parent
ROOT = FOLDER.parent
WORK = FOLDER / ".work"
# Far more than any of the runs takes: a run that reaches it hangs.
TIMEOUT_SECONDS = 300


class DidNotRun(Exception):
    """A measurement that could not be made. Says nothing about the code measured."""


def run(command, environment=None):
    command = [str(part) for part in command]
    try:
        result = subprocess.run(
            command, env={**os.environ, "SWIFT_BACKTRACE": "enable=no", **(environment or {})},
            stdin=subprocess.DEVNULL, capture_output=True, text=True, errors="replace", timeout=TIMEOUT_SECONDS)
    except FileNotFoundError:
        raise DidNotRun(f"{command[0]} is not there") from None
    except subprocess.TimeoutExpired:
        raise DidNotRun(f"no end after {TIMEOUT_SECONDS} s: {' '.join(command)}") from None
    if result.returncode != 0:
        lines = (result.stderr.strip() or result.stdout.strip() or "no output").splitlines()
        raise DidNotRun(f"exit status {result.returncode}: {' '.join(command)}: {lines[-1]}")
    return result


def build():
    """bdevperf as users get it: release, with the standard library linked in."""
    flags = ["-c", "release", "--static-swift-stdlib", "-Xlinker", "--strip-debug", "-j", os.environ.get("JOBS", "2")]
    subprocess.run(["swift", "build", *flags, "--product", "bdevperf"], cwd=ROOT, check=True)
    return ROOT / ".build/release/bdevperf"


def build_interposer():
    WORK.mkdir(exist_ok=True)
    library = WORK / "malloc_count.so"
    compiler = next((name for name in ("cc", "clang", "gcc") if shutil.which(name)), None)
    if compiler is None:
        raise DidNotRun("there is no C compiler")
    run([compiler, "-O2", "-shared", "-fPIC", "-o", library, FOLDER / "malloc_count.c"])
    return library


@contextmanager
def memory_file():
    """The path of a file that lives in memory, so that no disk decides."""
    folder = Path(tempfile.mkdtemp(prefix="swift-bdev-bench-", dir="/dev/shm" if os.path.isdir("/dev/shm") else None))
    try:
        yield folder / "file"
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def arguments(scenario, file, number):
    places = {"{file}": str(file), "{folder}": str(FOLDER)}
    parts = scenario.arguments.split()
    for mark, place in places.items():
        parts = [part.replace(mark, place) for part in parts]
    return parts + ["--number-ios", str(number)]


def first_json(text):
    """The first JSON value of a program's output."""
    for match in re.finditer(r"^[\[{]", text, re.MULTILINE):
        try:
            return json.JSONDecoder().raw_decode(text[match.start():])[0]
        except json.JSONDecodeError:
            continue
    raise DidNotRun("the output has no JSON")


def difference(scenario, lengths, count):
    short, long = lengths
    with memory_file() as file:
        first = count(arguments(scenario, file, short))
        second = count(arguments(scenario, file, long))
    return tuple((b - a) / (long - short) for a, b in zip(first, second))


def instructions(program, scenario):
    """Instructions of an I/O: all of them, and those of the copy."""
    WORK.mkdir(exist_ok=True)
    output = WORK / f"callgrind.out.{scenario.name}"

    def count(given):
        result = run(["valgrind", "--tool=callgrind", "--fair-sched=yes", f"--callgrind-out-file={output}",
                      program, *given])
        collected = re.search(r"Collected : (\d+)", result.stderr)
        if collected is None:
            raise DidNotRun("callgrind printed no count")
        return int(collected[1]), copied(output)

    try:
        return difference(scenario, scenario.instruction_ios, count)
    finally:
        output.unlink(missing_ok=True)


def copied(output):
    """Instructions spent in the C library's memory copies."""
    listing = run(["callgrind_annotate", "--threshold=100", "--auto=no", output]).stdout
    total = 0
    for line in listing.splitlines():
        match = re.match(r"\s*([\d,]+) \(.*mem(cpy|move|pcpy|set)", line)
        if match:
            total += int(match[1].replace(",", ""))
    return total


def allocations(program, scenario, library):
    """Allocations in a million I/Os."""
    output = WORK / f"allocations.{scenario.name}"

    def count(given):
        output.unlink(missing_ok=True)
        run([program, *given], {"LD_PRELOAD": str(library), "MALLOC_COUNT_FILE": str(output)})
        if not output.exists():
            raise DidNotRun("the program ended without a count of its allocations")
        return (int(output.read_text()),)

    try:
        return difference(scenario, scenario.allocation_ios, count)[0] * 1_000_000
    finally:
        output.unlink(missing_ok=True)
