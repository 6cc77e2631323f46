"""What is measured: one table. Everything else in this folder reads it."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Scenario:
    name: str
    # bdevperf's arguments, without --number-ios. {file} is a file in memory that the run makes and removes, {folder} this one.
    arguments: str
    # Goal of the project for the instructions of an I/O, without the copy. None: there is no goal.
    goal: int | None = None
    # Compared with thresholds.json, and so run in CI.
    compares_instructions: bool = True
    compares_allocations: bool = True
    # Two run lengths, in I/Os: what an I/O costs is the difference of the two, so that start and end drop out.
    instruction_ios: tuple[int, int] = (20_000, 60_000)
    allocation_ios: tuple[int, int] = (100_000, 1_100_000)

    @property
    def is_compared(self) -> bool:
        return self.compares_instructions or self.compares_allocations


READ = "-w randread -o 4096"
# Bdevs on bdevs: `-T` chooses one.
LAYERS = "-c {folder}/layers.json -T"
SLOW = {"allocation_ios": (20_000, 120_000)}

SCENARIOS = [
    Scenario("null-engine-q1", f"--null --api engine -q 1 {READ}", goal=700),
    Scenario("null-engine-q128", f"--null --api engine -q 128 {READ}", goal=350),
    Scenario("null-async-q1", f"--null --api async -q 1 {READ}", goal=1200),
    Scenario("null-async-q128", f"--null --api async -q 128 {READ}", goal=600),
    Scenario("null-parked-q1", f"--null --null-parked --api async -q 1 {READ}", goal=2200),
    Scenario("null-parked-q128", f"--null --null-parked --api async -q 128 {READ}", goal=1100),
    Scenario("null-batch-q32", f"--null --api batch -q 32 {READ}", goal=450),
    # What stands between: 250 for a layer that hands on, 60 for limits that are not reached, 30 for a histogram.
    Scenario("passthru-engine-q128", f"{LAYERS} Passthru1 --api engine -q 128 {READ}", goal=350 + 250),
    Scenario("passthru3-engine-q128", f"{LAYERS} Passthru3 --api engine -q 128 {READ}", goal=350 + 3 * 250),
    Scenario("split-engine-q128", f"{LAYERS} Wholep1 --api engine -q 128 {READ}", goal=350 + 250),
    Scenario("limited-engine-q128", f"{LAYERS} Limited --api engine -q 128 {READ}", goal=350 + 60),
    Scenario("histogram-engine-q128", f"--null -l --api engine -q 128 {READ}", goal=350 + 30),
    Scenario("malloc-engine-q1", f"--malloc 64M --api engine -q 1 {READ}", goal=1400),
    Scenario("malloc-engine-q128", f"--malloc 64M --api engine -q 128 {READ}", goal=700),
    Scenario("malloc-async-q1", f"--malloc 64M --api async -q 1 {READ}"),
    Scenario("malloc-async-q128", f"--malloc 64M --api async -q 128 {READ}"),
    # How often a reactor looks at the ring before the kernel is done differs from run to run: no comparison of instructions.
    Scenario("uring-engine-q32", f"--file {{file}}:64M --api engine -q 32 {READ}", compares_instructions=False),
    Scenario("uring-async-q32", f"--file {{file}}:64M --api async -q 32 {READ}", compares_instructions=False),
    # A call from an ordinary task crosses threads twice: recorded, so that the price is known.
    Scenario("null-global-q1", f"--null --api global -q 1 {READ}", compares_instructions=False,
             compares_allocations=False, **SLOW),
    Scenario("null-global-q32", f"--null --api global -q 32 {READ}", compares_instructions=False,
             compares_allocations=False, **SLOW),
]

# Instructions may differ from the threshold by this much, in percent.
TOLERANCE_PERCENT = 3.0

# Allocations in a million I/Os that count as none: a longer run meets a few timers more.
ALLOCATIONS_SLACK = 8.0

# A count that is worse is counted again: what is worse each time is worse.
TRIES = 3
