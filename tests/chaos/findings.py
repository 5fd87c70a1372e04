"""Names of what can go wrong, Jepsen's where it has one, and the report of a scenario."""

import enum
from collections import Counter

import msgspec

SHOWN_MAX = 5
"""Of each name: the first ones tell the story, the count tells its size."""


class Anomaly(enum.StrEnum):
    """What a scenario can be guilty of."""

    LOST_UPDATE = "lost-update"  # a committed write is missing, or an older one in its place
    G1A = "g1a"  # a write that was rolled back, or that nobody made, is seen
    NONMONOTONIC = "nonmonotonic"  # a reader sees the version of a key fall
    RESURRECTED = "resurrected"  # a deleted row comes back without a newer write
    STUCK = "stuck"  # what must happen does not happen in time
    UNACCOUNTED = "unaccounted"  # records without an outcome, or with two
    DIFFERS = "differs"  # `trueup verify` finds what nobody put there
    PLACEHOLDER = "placeholder"  # a value that was not in the log is stored as if it were one
    UNFENCED = "unfenced"  # a former owner of a partition was not refused
    UNCLEAN_EXIT = "unclean-exit"  # a worker did not drain and end with 0 in time
    BLIND_CHECKER = "blind-checker"  # the negative control was not found, or more than it


class Finding(msgspec.Struct, frozen=True):
    """One thing that went wrong."""

    anomaly: Anomaly
    detail: str


class Report(msgspec.Struct):
    """What a scenario did and what was found."""

    scenario: str
    facts: dict[str, str] = {}
    findings: list[Finding] = []

    def lines(self) -> list[str]:
        """For a person: what was done, then a count for every name, then the first findings of each."""
        counts = Counter(finding.anomaly for finding in self.findings)
        verdict = "ok    " if not self.findings else "FAILED"
        lines = [f"{verdict} {self.scenario}"]
        lines += [f"         {name}: {fact}" for name, fact in self.facts.items()]
        lines.append("         " + ", ".join(f"{anomaly} {counts[anomaly]}" for anomaly in Anomaly))
        for anomaly in Anomaly:
            found = [finding.detail for finding in self.findings if finding.anomaly is anomaly]
            lines += [f"         {anomaly}: {detail}" for detail in found[:SHOWN_MAX]]
        return lines
