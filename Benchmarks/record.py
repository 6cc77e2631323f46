"""What depends on the machine: recorded, never compared. Each entry says what it measured, or why it could not."""

import os
import shutil
import statistics
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from measure import TIMEOUT_SECONDS, DidNotRun, first_json, memory_file, run

READ = ["-w", "randread", "-o", "4096"]
REPEATS = 3


def machine():
    model = next((line.split(":", 1)[1].strip() for line in Path("/proc/cpuinfo").read_text().splitlines()
                  if line.startswith("model name")), "unknown")
    return {"processor": model, "cores": os.cpu_count(), "kernel": os.uname().release}


def timed(command):
    """Output, wall time and CPU time of a run, and the most memory it had resident."""
    process = subprocess.Popen([str(part) for part in command], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                               stderr=subprocess.PIPE, text=True)
    began = time.monotonic()
    resident = 0
    # Output is short, so it fits in the pipe while the program runs.
    while True:
        pid, status, usage = os.wait4(process.pid, os.WNOHANG)
        if pid:
            break
        resident = max(resident, high_water(process.pid))
        if time.monotonic() - began > TIMEOUT_SECONDS:
            process.kill()
        time.sleep(0.005)
    wall = time.monotonic() - began
    process.returncode = os.waitstatus_to_exitcode(status)
    output, errors = process.stdout.read(), process.stderr.read()
    process.stdout.close()
    process.stderr.close()
    if process.returncode != 0:
        last = (errors.strip() or "no message").splitlines()[-1]
        raise DidNotRun(f"exit status {process.returncode}: {' '.join(map(str, command))}: {last}")
    return {"output": output, "wall": wall, "cpu": usage.ru_utime + usage.ru_stime, "resident": resident}


def high_water(pid):
    """The most memory a process has had resident, in bytes. The kernel counts it anew at exec, unlike rusage."""
    try:
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    except OSError:
        pass
    return 0


def jobs_of(output):
    document = first_json(output)
    if isinstance(document, dict):
        document = document.get("jobs", [document])
    return document


def start(program):
    """From exec to exit with one I/O on the null bdev, so more than the time to the first I/O."""
    times = [timed([program, "--null", "-q", "1", *READ, "--number-ios", "1"])["wall"] for _ in range(10)]
    return {"start_to_exit_after_one_io_ms": round(statistics.median(times) * 1000, 1)}


def resident_memory(program):
    result = timed([program, "--null", "-q", "128", *READ, "-t", "1"])
    return {"resident_mib": round(result["resident"] / (1 << 20), 1)}


def rate(program, arguments):
    """I/Os a second as printed, and for each second on a CPU. Medians."""
    raw, per_cpu = [], []
    for _ in range(REPEATS):
        result = timed([program, *arguments, "-t", "2", "--output", "json"])
        done = [(job["iops"], job["iops"] * job["runtime"]) for job in jobs_of(result["output"])]
        raw.append(sum(iops for iops, _ in done))
        per_cpu.append(sum(count for _, count in done) / result["cpu"])
    return {"iops": round(statistics.median(raw)), "per_cpu_second": round(statistics.median(per_cpu))}


def null_rates(program):
    return {f"{api}-q128": rate(program, ["--null", "--api", api, "-q", "128", *READ])
            for api in ("engine", "async", "batch")}


def once(program, arguments):
    """I/Os for each second on a CPU, of one run of a second."""
    result = timed([program, *arguments, "-t", "1", "--output", "json"])
    return sum(job["iops"] * job["runtime"] for job in jobs_of(result["output"])) / result["cpu"]


def scaling(program):
    """Two reactors of one process against one, each second on a CPU counted: 2 is perfect.

    Cores that share a clock or a cache do not scale by themselves, and neighbours come and go. So each round also runs
    two processes side by side, one on each core, which share nothing: what they reach is what the machine gives.
    """
    base = ["--null", "--api", "async", "-q", "128", *READ, "-C"]
    masks = ("0x1", "0x2")
    factors, machine = [], []
    for _ in range(9):
        one = statistics.mean(once(program, ["-m", mask, *base]) for mask in masks)
        two = once(program, ["-m", "0x3", *base])
        with ThreadPoolExecutor(2) as pool:
            apart = list(pool.map(lambda mask: once(program, ["-m", mask, *base]), masks))
        factors.append(2 * two / one)
        machine.append(sum(apart) / one)
    factor, limit = statistics.median(factors), statistics.median(machine)
    return {"factor": round(factor, 2), "factor_of_two_processes": round(limit, 2), "of_them": round(factor / limit, 2)}


def executor(program):
    """Medians: what passes between two cores depends on whether both of them run at the moment."""
    runs = [first_json(run([program, "--executor"]).stdout) for _ in range(7)]
    return {key: round(statistics.median(run[key] for run in runs)) for key in runs[0]}


def fio_rate(path, depth, size):
    command = ["fio", "--name=bench", f"--filename={path}", "--rw=randread", "--bs=4k", "--ioengine=io_uring",
               f"--iodepth={depth}", "--direct=1", "--registerfiles", "--fixedbufs", "--thread", "--time_based",
               "--runtime=2", "--output-format=json", f"--size={size}"]
    result = timed(command)
    read = first_json(result["output"])["jobs"][0]["read"]
    return {"iops": round(read["iops"]), "per_cpu_second": round(read["total_ios"] / result["cpu"])}


def own_rate(program, path, depth, mask="0x1"):
    """`depth`: on all cores of the mask together."""
    cores = bin(int(mask, 16)).count("1")
    result = timed([program, "--file", path, "--api", "engine", "-m", mask, "-C", "-q", str(depth // cores), *READ,
                    "-t", "2", "--output", "json"])
    jobs = jobs_of(result["output"])
    return {"iops": round(sum(job["iops"] for job in jobs)),
            "per_cpu_second": round(sum(job["iops"] * job["runtime"] for job in jobs) / result["cpu"])}


def beside_fio(program, path, size):
    """The programs in turn on the same file, so that a noisy neighbour meets all.

    Where a device cannot take I/O without waiting, as zram, the kernel hands fio's to threads of its own, on both
    cores; a reactor has one. Two reactors with half the depth each have as much of the machine.
    """
    if not shutil.which("fio"):
        raise DidNotRun("fio is not there")
    result = {}
    for depth in (1, 32, 128):
        rows = {"fio": [], "bdevperf": []}
        if depth > 1:
            rows["bdevperf_on_two_cores"] = []
        for _ in range(REPEATS):
            rows["fio"].append(fio_rate(path, depth, size))
            rows["bdevperf"].append(own_rate(program, path, depth))
            if depth > 1:
                rows["bdevperf_on_two_cores"].append(own_rate(program, path, depth, "0x3"))
        result[f"q{depth}"] = {
            name: {key: round(statistics.median(run[key] for run in runs)) for key in runs[0]}
            for name, runs in rows.items()}
    return result


SIZE = 256 << 20


def fill(path):
    with open(path, "wb") as file:
        for _ in range(SIZE >> 20):
            file.write(os.urandom(1 << 20))


def tmpfs(program):
    with memory_file() as file:
        fill(file)
        return beside_fio(program, file, SIZE)


def zram(program):
    control = Path("/sys/class/zram-control")
    if not control.is_dir() and shutil.which("modprobe"):
        subprocess.run(["modprobe", "zram"], capture_output=True)
    if not control.is_dir():
        raise DidNotRun("the kernel has no zram")
    try:
        number = (control / "hot_add").read_text().strip()
    except OSError as error:
        raise DidNotRun(f"no zram device: {error.strerror}") from None
    device = f"/dev/zram{number}"
    try:
        Path(f"/sys/block/zram{number}/disksize").write_text(str(SIZE))
        fill(device)
        return beside_fio(program, device, SIZE)
    except OSError as error:
        raise DidNotRun(f"{device}: {error.strerror}") from None
    finally:
        remove_zram(control, number)


def remove_zram(control, number):
    """Whoever looks at new block devices may still have it open, so the kernel is asked more than once."""
    for _ in range(50):
        try:
            Path(f"/sys/block/zram{number}/reset").write_text("1")
            (control / "hot_remove").write_text(number)
            return
        except OSError as error:
            reason = error.strerror
            time.sleep(0.1)
    print(f"bench: /dev/zram{number} stays: {reason}", file=sys.stderr)


RECORDINGS = {
    "start": start,
    "memory": resident_memory,
    "null": null_rates,
    "scaling": scaling,
    "executor": executor,
    "tmpfs": tmpfs,
    "zram": zram,
}


def record(program, name):
    try:
        return RECORDINGS[name](program)
    except DidNotRun as error:
        return {"did_not_run": str(error)}
    except (KeyError, IndexError, TypeError, ZeroDivisionError) as error:
        return {"did_not_run": f"output of another shape than expected: {error!r}"}
