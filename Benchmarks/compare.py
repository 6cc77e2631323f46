"""Compares counts with the committed thresholds. A count that is worse is not the same as a count that is not there."""

import platform
import re
import subprocess

from scenarios import ALLOCATIONS_SLACK, TOLERANCE_PERCENT

OK = "ok"
IMPROVED = "improved"
REGRESSED = "regressed"
NEW = "no threshold"
DID_NOT_RUN = "did not run"
RECORDED = "recorded"


def environment():
    version = subprocess.run(["swift", "--version"], capture_output=True, text=True).stdout
    found = re.search(r"Swift version (\S+)", version)
    return {"swift": found[1] if found else "unknown", "architecture": platform.machine()}


def verdict(scenario, result, threshold):
    """One word for a scenario's result, and the reasons for it."""
    if "error" in result:
        return DID_NOT_RUN, [result["error"]]
    if not scenario.is_compared:
        return RECORDED, []
    if threshold is None:
        return NEW, ["use --update to make this result the threshold"]
    verdicts, reasons = {OK}, []
    if scenario.compares_allocations:
        allowed = threshold["allocations_per_million"] + ALLOCATIONS_SLACK
        if result["allocations_per_million"] > allowed:
            verdicts.add(REGRESSED)
            reasons.append(f"{result['allocations_per_million']:.0f} allocations in a million I/Os, and at most "
                           f"{threshold['allocations_per_million']} are allowed")
    if scenario.compares_instructions:
        before, now = threshold["instructions"], result["instructions"]
        change = 100 * (now - before) / before
        if change > TOLERANCE_PERCENT:
            verdicts.add(REGRESSED)
            reasons.append(f"{now:.0f} instructions, {change:+.1f} % against {before}")
        elif change < -TOLERANCE_PERCENT:
            verdicts.add(IMPROVED)
            reasons.append(f"{now:.0f} instructions, {change:+.1f} % against {before}: use --update to keep it")
    return next(word for word in (REGRESSED, IMPROVED, OK) if word in verdicts), reasons


def exit_status(verdicts):
    if REGRESSED in verdicts:
        return 1
    if DID_NOT_RUN in verdicts or NEW in verdicts:
        return 3
    return 0


def updated(thresholds, scenarios, results):
    """The thresholds after these results. A scenario that did not run keeps what it had; one that is gone goes."""
    kept = {}
    for scenario in scenarios:
        result = results.get(scenario.name)
        if not scenario.is_compared:
            continue
        if result is None or "error" in result:
            if scenario.name in thresholds:
                kept[scenario.name] = thresholds[scenario.name]
            continue
        entry = {}
        if scenario.compares_instructions:
            entry["instructions"] = round(result["instructions"])
        if scenario.compares_allocations:
            count = result["allocations_per_million"]
            entry["allocations_per_million"] = 0 if count <= ALLOCATIONS_SLACK else round(count)
        kept[scenario.name] = entry
    return kept


def table(rows):
    """Columns of text: the first to the left, the last to the left, the others to the right."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = []
    for row in rows:
        cells = [text.ljust(width) if column in (0, len(row) - 1) else text.rjust(width)
                 for column, (text, width) in enumerate(zip(row, widths))]
        lines.append("  ".join(cells).rstrip())
    return "\n".join(lines)
