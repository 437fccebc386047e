"""The whole study: carry out what is missing, judge the claims, write the page."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from internvideo.errors import DataError
from internvideo.files import write_whole
from internvideo.reproduce.budget import find_budget
from internvideo.reproduce.claims import PEOPLE_CLAIMS, WORLD_CLAIMS, judge
from internvideo.reproduce.page import render
from internvideo.reproduce.people import missing_people
from internvideo.reproduce.report import ClaimsReport, Section, times
from internvideo.reproduce.running import carry_out
from internvideo.reproduce.steps import plan

__all__ = ["reproduce"]


def reproduce(
    out: str | Path,
    *,
    budget: str = "small",
    jobs: int | None = None,
    real: str | Path | None = None,
) -> ClaimsReport:
    """Test the claims of the paper, and write `index.html`, `report.md` and `report.json`.

    What a run before this one finished is not done again, and what it had begun goes on.

    Args:
        out: the directory of the study; a folder a step.
        budget: a key of `BUDGETS`.
        real: a folder of real videos, see `people`; without it that part is skipped.
        jobs: processes at a time, of one thread each; by default one a core.

    Raises:
        UnknownNameError: no such budget.
        ConfigError: another process works in the directory, or it holds another study.
        DataError: the folder of real videos lacks something.
        InternVideoError: a step failed; its log is named.
    """
    chosen, directory = find_budget(budget), Path(out)
    people = None if real is None else Path(real)
    lacking = missing_people(people)
    if lacking and people is not None:  # asked for: not to be found missing after half an hour
        raise DataError(f"{lacking}; leave out --real, or name a folder that has them")
    steps = plan(chosen, None if lacking else people)
    found = carry_out(steps, directory, jobs=jobs or _cores())
    report = ClaimsReport(
        budget=chosen,
        sections=(_world(found, chosen.seeds), _people(found, chosen.seeds, lacking)),
        steps=times(found),
        machine=f"{platform.machine()}, {os.cpu_count()} cores, torch {torch.__version__}",
        command=f"internvideo reproduce --budget {budget}" + ("" if lacking else " --real VIDEOS"),
    )
    write_whole(directory / "report.json", json.dumps(report.to_dict(), indent=1) + "\n")
    write_whole(directory / "report.md", report.to_markdown())
    write_whole(directory / "index.html", render(report))
    return report


def _world(found: Mapping[str, Mapping[str, Any]], seeds: Sequence[int]) -> Section:
    return Section(
        title="The procedural world",
        about="Clips of 16 frames with 28 actions of moving shapes, painted as they are needed.",
        findings=tuple(judge(claim, found, seeds) for claim in WORLD_CLAIMS),
    )


def _people(found: Mapping[str, Mapping[str, Any]], seeds: Sequence[int], skipped: str) -> Section:
    return Section(
        title="Real people",
        about="Segments of untrimmed videos of people under a ceiling camera, 9 actions. Whole "
        "videos are dealt to training and test anew for each seed; a test has about a hundred "
        "segments, so that only large differences can be shown.",
        findings=() if skipped else tuple(judge(claim, found, seeds) for claim in PEOPLE_CLAIMS),
        skipped=skipped,
    )


def _cores() -> int:
    affinity = getattr(os, "sched_getaffinity", None)
    return len(affinity(0)) if affinity else os.cpu_count() or 1
