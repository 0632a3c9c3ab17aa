"""What was measured: rows of medians, quartiles and ratios, with remarks."""

import dataclasses
from typing import Any

import numpy as np

OURS = "ours"


@dataclasses.dataclass
class Results:
    """Rows of all parts, and what else a reader must know."""

    rows: list[dict[str, Any]] = dataclasses.field(default_factory=list)
    notes: list[str] = dataclasses.field(default_factory=list)

    def add(
        self,
        part: str,
        what: str,
        unit: str,
        turns: dict[str, list[list[float]]],
        info: dict[str, dict[str, Any]],
    ) -> dict[str, dict[str, Any]]:
        """Add a row a contender, with its ratio to ours where that took turns too; return the rows by contender.

        Args:
            part: of the benchmark.
            what: was measured, such as the size.
            unit: of work.
            turns: seconds a unit: contender -> turns -> samples.
            info: contender -> what else its row has.
        """
        ours = [float(np.median(turn)) for turn in turns.get(OURS, [])]
        added = {}
        for name, samples in turns.items():
            row = {"part": part, "what": what, "contender": name, "unit": unit} | info.get(name, {})
            row |= quartiles("seconds", np.concatenate(samples)) | {"samples": sum(map(len, samples))}
            if ours and name != OURS:
                # Turns that follow each other are compared, so that a machine that slows down changes both.
                pairs = zip(samples, ours, strict=True)
                row |= quartiles("ratio", [float(np.median(turn)) / mine for turn, mine in pairs])
            added[name] = row
        self.rows += added.values()
        return added

    def find(self, *parts: str) -> list[dict[str, Any]]:
        """Return the rows of some parts, in order."""
        return [row for row in self.rows if row["part"] in parts]

    def add_shares(self) -> float | None:
        """Give each row its operations a second and their share of the machine's peak, which is returned.

        The peak is the best that either framework did on a large matrix product in this run.
        """
        for row in self.rows:
            if row.get("operations"):
                row["gflops"] = row["operations"] / row["seconds"] / 1e9
        peak = max((row["gflops"] for row in self.find("peak") if "gflops" in row), default=None)
        for row in self.rows:
            if peak and "gflops" in row:
                row["share_of_peak"] = row["gflops"] / peak
        return peak


def quartiles(name: str, values: Any) -> dict[str, float]:
    """Return median and quartiles under `name`, `name_q1` and `name_q3`."""
    q1, median, q3 = (float(q) for q in np.percentile(values, (25, 50, 75)))
    return {name: median, f"{name}_q1": q1, f"{name}_q3": q3}
