"""The claims table: as plain data, in a terminal, and as a page."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from internvideo.reproduce.budget import Budget
from internvideo.reproduce.claims import Finding, title_of

if TYPE_CHECKING:
    from rich.table import Table

__all__ = ["ClaimsReport", "Section"]


_HEADINGS = ("claim", "measure", "higher?", "than", "difference", "95 %", "verdict")


@dataclass(frozen=True, kw_only=True)
class Section:
    """The claims as tested on some data.

    Attributes:
        title: the data.
        about: in a sentence.
        findings: one a claim.
        skipped: why nothing was tested; empty where it was.
    """

    title: str
    about: str
    findings: tuple[Finding, ...]
    skipped: str = ""

    def to_dict(self) -> dict[str, Any]:
        """Return plain data."""
        found: dict[str, Any] = {"data": self.title, "about": self.about}
        if self.skipped:
            return {**found, "skipped": self.skipped}
        return {**found, "claims": [each.to_dict() for each in self.findings]}


@dataclass(frozen=True, kw_only=True)
class ClaimsReport:
    """What a study says of the claims.

    Attributes:
        budget: of the study.
        sections: one for each kind of data.
        steps: what each step took: (name, CPU seconds, seconds).
        machine: what it ran on.
        command: how to make it again.
    """

    budget: Budget
    sections: tuple[Section, ...]
    steps: tuple[tuple[str, float, float], ...]
    machine: str
    command: str

    @property
    def cpu_seconds(self) -> float:
        """Of all steps together."""
        return sum(cpu for _, cpu, _ in self.steps)

    def to_dict(self) -> dict[str, Any]:
        """Return plain data."""
        return {
            "budget": self.budget.to_dict(),
            "command": self.command,
            "machine": self.machine,
            "cpu_seconds": round(self.cpu_seconds, 1),
            "sections": [each.to_dict() for each in self.sections],
            "steps": [
                {"name": name, "cpu_seconds": cpu, "seconds": seconds}
                for name, cpu, seconds in self.steps
            ],
        }

    def to_markdown(self) -> str:
        """Return the tables as Markdown, for a page of documentation."""
        lines = [
            f"`{self.command}`, {len(self.budget.seeds)} seeds; {self.machine}; "
            f"{self.cpu_seconds / 60:.0f} minutes of one core in all. In percent, mean ± standard "
            "deviation over the seeds; differences with their 95 % interval.",
        ]
        for section in self.sections:
            lines += ["", f"### {section.title}", ""]
            if section.skipped:
                lines.append(f"Skipped: {section.skipped}.")
                continue
            lines += [_line(_HEADINGS), _line(["---"] * len(_HEADINGS))]
            lines += [_line(row) for finding in section.findings for row in rows_of(finding)]
            lines.append("")
            lines += [
                f"- ({finding.claim.letter}) {finding.claim.statement} **{finding.verdict}**"
                for finding in section.findings
            ]
        return "\n".join(lines) + "\n"

    def __rich__(self) -> Table:
        from rich.markup import escape
        from rich.table import Table

        table = Table(title=f"claims, budget {self.budget.name}, {len(self.budget.seeds)} seeds")
        for heading in _HEADINGS:
            table.add_column(heading, overflow="fold")
        for section in self.sections:
            table.add_section()
            if section.skipped:
                table.add_row("", escape(f"{section.title}: skipped, {section.skipped}"))
            for finding in section.findings:
                for row in rows_of(finding):
                    table.add_row(*map(escape, row))
        return table


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def rows_of(finding: Finding) -> list[tuple[str, ...]]:
    """Return the rows of a claim in a table: what is compared, and what came out."""
    rows = []
    for outcome in finding.outcomes:
        asked = outcome.comparison
        names = [title_of(asked.better), title_of(asked.worse)]
        if not outcome.differences:
            rows.append((finding.claim.letter, asked.measure, *names, "–", "–", outcome.verdict))
            continue
        low, high = outcome.interval
        rows.append(
            (
                finding.claim.letter,
                asked.measure,
                f"{names[0]} {spread(outcome.better)}",
                f"{names[1]} {spread(outcome.worse)}",
                f"{outcome.mean:+.1f}",
                f"{low:+.1f} … {high:+.1f}",
                outcome.verdict,
            )
        )
    return rows


def spread(values: Sequence[float]) -> str:
    """Return mean ± standard deviation; of a constant the number alone."""
    deviation = statistics.stdev(values) if len(values) > 1 else 0.0
    mean = statistics.fmean(values)
    return f"{mean:.1f} ± {deviation:.1f}" if deviation else f"{mean:.1f}"


def times(results: Mapping[str, Mapping[str, Any]]) -> tuple[tuple[str, float, float], ...]:
    """Return what each step took."""
    return tuple(
        (name, float(each["cpu_seconds"]), float(each["seconds"])) for name, each in results.items()
    )
