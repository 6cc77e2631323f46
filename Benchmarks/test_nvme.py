"""What the NVMe driver's benchmark says of output that is known. Run by `make bench-ci` before it counts anything."""

import json
import sys
import unittest

sys.dont_write_bytecode = True

import compare
import nvme

DRIVER = nvme.COUNTED[0]
DIRECT = nvme.WAYS[0]


def total(**figures):
    return json.dumps({"jobs": [], "total": figures})


def counts(ios=100_000, **over):
    """What the guest prints when the fast drive's runs allocate `over` more than the slow one's, by their names."""
    lines = ["nvme-perf: /dev/ng0n1: pass-through, since a device of the kernel's driver was named", "polled 1"]
    for scenario in nvme.WAYS:
        extra = over.get(scenario.name.replace("-", "_"), 0)
        lines.append(f"allocations {scenario.name} fast {4000 + extra} {total(io_completed=ios)}")
        lines.append(f"allocations {scenario.name} slow 4000 {total(io_completed=3_000)}")
    return lines


class Allocations(unittest.TestCase):
    def verdicts(self, lines):
        return {name: word for name, (word, _) in nvme.judged(nvme.WAYS, nvme.allocations(lines), {}).items()}

    def test_a_timer_more_or_less_counts_as_none(self):
        found = self.verdicts(counts(direct=5, direct_bdev=-5, passthrough=100, passthrough_bdev=-100))
        self.assertEqual(set(found.values()), {compare.OK})
        self.assertEqual(len(found), 4)

    def test_an_allocation_for_each_io_or_each_turn_regresses(self):
        for each in (1, nvme.DEPTH):
            for scenario in nvme.WAYS:
                extra = {scenario.name.replace("-", "_"): 97_000 // each}
                found = self.verdicts(counts(**extra))
                self.assertEqual(found.pop(scenario.name), compare.REGRESSED)
                self.assertEqual(set(found.values()), {compare.OK})

    def test_it_says_how_many_in_a_million(self):
        self.assertEqual(nvme.allocations(counts(ios=103_000, direct=50_016))["direct"], 500_000)

    def test_too_few_ios_to_tell_are_no_result(self):
        with self.assertRaisesRegex(nvme.DidNotRun, "too slow"):
            nvme.allocations(counts(ios=10_000))

    def test_a_way_that_is_missing_is_no_result(self):
        lines = [line for line in counts() if not line.startswith("allocations passthrough-bdev slow")]
        with self.assertRaisesRegex(nvme.DidNotRun, "passthrough-bdev"):
            nvme.allocations(lines)


class Speeds(unittest.TestCase):
    def test_each_way_has_its_ratio_to_the_kernel_of_the_same_round(self):
        rounds = [{"kernel": 100, "direct": 400, "passthrough": 50}, {"kernel": 10, "direct": 60, "passthrough": 20},
                  {"kernel": 200, "direct": 1000, "passthrough": 240}]
        lines = ["polled 0"] + [f"speed {number} {way} 32 {total(iops=iops)}"
                                for number, ways in enumerate(rounds, 1) for way, iops in ways.items()]
        found = nvme.speeds(lines)
        self.assertEqual(found["passthrough_polls"], False)
        self.assertEqual(found["q32"]["kernel"], {"iops": 100, "best": 200})
        self.assertEqual(found["q32"]["direct"], {"iops": 400, "best": 1000, "ratio": 5, "ratio_of_best": 5})
        self.assertEqual(found["q32"]["passthrough"], {"iops": 50, "best": 240, "ratio": 1.2, "ratio_of_best": 1.2})

    def test_no_speed_is_no_result(self):
        with self.assertRaises(nvme.DidNotRun):
            nvme.speeds(["polled 1"])


class Judging(unittest.TestCase):
    def word(self, count, **recorded):
        return nvme.judge(DRIVER, count, recorded)[0]

    def test_the_recorded_count_is_compared_with_a_tolerance(self):
        self.assertEqual(self.word(206, driver=200), compare.OK)
        self.assertEqual(self.word(207, driver=200), compare.REGRESSED)
        self.assertEqual(self.word(193, driver=200), compare.IMPROVED)
        self.assertEqual(self.word(200), compare.NEW)

    def test_the_goal_holds_whatever_is_recorded(self):
        self.assertEqual(self.word(DRIVER.goal, driver=DRIVER.goal), compare.OK)
        self.assertEqual(self.word(DRIVER.goal + 1, driver=DRIVER.goal + 1), compare.REGRESSED)
        self.assertEqual(self.word(DRIVER.goal + 1), compare.REGRESSED)

    def test_what_is_worse_is_counted_again_and_the_least_counts(self):
        outcomes = iter([{"driver": 300}, {"driver": 204}, {"driver": 100}])
        self.assertEqual(nvme.least(lambda: next(outcomes), [DRIVER], {"driver": 200}), {"driver": 204})
        outcomes = iter([{"driver": 301}, {"driver": 300}, {"driver": 302}])
        self.assertEqual(nvme.least(lambda: next(outcomes), [DRIVER], {"driver": 200}), {"driver": 300})

    def test_allocations_are_compared_with_none(self):
        self.assertEqual(nvme.judge(DIRECT, 8.0, {})[0], compare.OK)
        self.assertEqual(nvme.judge(DIRECT, 9.0, {})[0], compare.REGRESSED)


if __name__ == "__main__":
    unittest.main()
