"""What the comparison says of results that are known. Run by `make bench-ci` before it counts anything."""

import sys
import unittest

sys.dont_write_bytecode = True

import compare
from scenarios import SCENARIOS, Scenario

COMPARED = Scenario("a", "--null")
RECORDED = Scenario("b", "--null", compares_instructions=False, compares_allocations=False)
THRESHOLD = {"instructions": 1000, "allocations_per_million": 0}


def result(instructions=1000.0, allocations=0.0):
    return {"instructions": instructions, "allocations_per_million": allocations, "copied": 0}


class Verdicts(unittest.TestCase):
    def word(self, outcome, scenario=COMPARED, threshold=THRESHOLD):
        return compare.verdict(scenario, outcome, threshold)[0]

    def test_within_the_tolerance_is_ok(self):
        for instructions in (971, 1000, 1030):
            self.assertEqual(self.word(result(instructions)), compare.OK)

    def test_more_instructions_regress(self):
        self.assertEqual(self.word(result(1031)), compare.REGRESSED)

    def test_fewer_instructions_are_an_improvement_and_no_failure(self):
        self.assertEqual(self.word(result(969)), compare.IMPROVED)
        self.assertEqual(compare.exit_status([compare.IMPROVED]), 0)

    def test_allocations_regress_whatever_the_instructions(self):
        self.assertEqual(self.word(result(500, allocations=1_000_000)), compare.REGRESSED)
        self.assertEqual(self.word(result(allocations=9)), compare.REGRESSED)
        self.assertEqual(self.word(result(allocations=8)), compare.OK)

    def test_what_did_not_run_is_not_a_regression(self):
        self.assertEqual(self.word({"error": "no valgrind"}), compare.DID_NOT_RUN)
        self.assertEqual(compare.exit_status([compare.OK, compare.DID_NOT_RUN]), 3)
        self.assertEqual(compare.exit_status([compare.REGRESSED, compare.DID_NOT_RUN]), 1)

    def test_a_scenario_without_threshold_does_not_pass(self):
        self.assertEqual(self.word(result(), threshold=None), compare.NEW)
        self.assertEqual(compare.exit_status([compare.NEW]), 3)

    def test_what_is_only_recorded_is_not_compared(self):
        self.assertEqual(self.word(result(10**9, 10**9), scenario=RECORDED), compare.RECORDED)


class Updates(unittest.TestCase):
    def test_what_did_not_run_keeps_its_threshold_and_what_is_gone_goes(self):
        old = {"a": THRESHOLD, "gone": THRESHOLD}
        self.assertEqual(compare.updated(old, [COMPARED, RECORDED], {"a": {"error": "x"}, "b": result()}),
                         {"a": THRESHOLD})

    def test_a_result_becomes_the_threshold(self):
        self.assertEqual(compare.updated({}, [COMPARED], {"a": result(900.4, 3)}),
                         {"a": {"instructions": 900, "allocations_per_million": 0}})


class Table(unittest.TestCase):
    def test_names_are_unique(self):
        names = [scenario.name for scenario in SCENARIOS]
        self.assertEqual(len(names), len(set(names)))


if __name__ == "__main__":
    unittest.main()
