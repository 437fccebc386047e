"""What every benchmark shares: interleaved CPU-time medians, a table, and one JSON line."""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TypeVar

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class Row:
    """One comparison; times are seconds, `ratio` = peer / ours (above 1: ours is faster)."""

    case: str
    ours: float
    peer: float
    peer_name: str
    note: str = ""

    @property
    def ratio(self) -> float:
        """Return how many times faster ours is."""
        return self.peer / self.ours


def measure(
    contestants: dict[str, Callable[[], object]], *, repeats: int = 7, clock: str = "cpu"
) -> dict[str, float]:
    """Return the median seconds of each contestant.

    The rounds are interleaved (a, b, c, a, b, c, …), so that a slow minute of the machine hits
    all alike; one round is run first and not counted.

    Args:
        contestants: name -> function without arguments.
        repeats: counted rounds.
        clock: "cpu" (time of all threads of this process) or "wall".
    """
    now = time.process_time if clock == "cpu" else time.perf_counter
    times: dict[str, list[float]] = {name: [] for name in contestants}
    for round_index in range(repeats + 1):
        for name, run in contestants.items():
            start = now()
            run()
            if round_index:
                times[name].append(now() - start)
    return {name: statistics.median(values) for name, values in times.items()}


def grown_mib(run: Callable[[], T]) -> tuple[float, T]:
    """Return by how many MiB the resident set grows at its peak during a call, and its result.

    Call it in a fresh process, and once before for what the libraries allocate only once.
    """
    before = _resident_mib("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew
    result = run()
    return _resident_mib("VmHWM") - before, result


def _resident_mib(field: str) -> float:
    """Return VmRSS (now) or VmHWM (peak) of this process."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(field):
            return int(line.split()[1]) / 1024
    raise RuntimeError(f"/proc/self/status has no {field}; memory is measured on Linux only")


def parse_arguments(description: str) -> argparse.Namespace:
    """Return the options that all benchmarks know."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--quick", action="store_true", help="fewer rounds and smaller inputs")
    return parser.parse_args()


def machine() -> str:
    """Return one line that says where the numbers come from."""
    import os

    import torch

    return (
        f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores, "
        f"torch {torch.__version__} ({torch.backends.cpu.get_cpu_capability()}, "
        f"{torch.get_num_threads()} threads), Python {platform.python_version()}"
    )


def report(benchmark: str, rows: list[Row]) -> None:
    """Print the table, then the rows as one JSON object on the last line."""
    from rich.console import Console
    from rich.table import Table

    table = Table(title=f"{benchmark} · {machine()}")
    for column in ("case", "ours [ms]", "peer [ms]", "peer", "ratio", "note"):
        table.add_column(column, justify="left" if column in ("case", "peer", "note") else "right")
    for row in rows:
        table.add_row(
            row.case,
            f"{row.ours * 1e3:.2f}",
            f"{row.peer * 1e3:.2f}",
            row.peer_name,
            f"{row.ratio:.2f}",
            row.note,
        )
    Console(width=140).print(table)
    listed = [{**asdict(row), "ratio": row.ratio} for row in rows]
    print(json.dumps({"benchmark": benchmark, "rows": listed}))
