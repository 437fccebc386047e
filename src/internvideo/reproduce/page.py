"""The page of the claims: one HTML file with tables and plots in it, for any browser."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from html import escape

from internvideo.demo.page import STYLE
from internvideo.reproduce.claims import Finding, Outcome, title_of
from internvideo.reproduce.report import ClaimsReport, Section, spread

__all__ = ["render"]

_MARKS = {"holds": "✓", "does not hold": "✗", "not shown": "?", "not measured": "…"}
_CLASSES = {"holds": "right", "does not hold": "wrong"}
_WIDTH, _ROW, _PAD, _FOOT = 640, 46, 28, 30
_CSS = """
.verdict.open { color: var(--mark); }
.claims th, .claims td { text-align: left; vertical-align: top; white-space: normal; }
.claims .pair { display: flex; justify-content: space-between; gap: 16px; }
.claims .number { white-space: nowrap; }
.claims .verdict { margin: 0; white-space: nowrap; }
.arms th:first-child { min-width: 180px; }
.plot { width: 100%; max-width: 760px; height: auto; }
.plot text { font: 13px system-ui, sans-serif; fill: var(--ink); }
.plot .soft { fill: var(--soft); }
.plot .zero { stroke: var(--mark); stroke-width: 2; stroke-dasharray: 4 3; }
.plot .grid { stroke: var(--line); }
.plot .range { stroke: var(--fill); stroke-width: 4; stroke-linecap: round; opacity: .55; }
.plot .seed { fill: var(--paper); stroke: var(--ink); stroke-width: 1.5; }
.plot .mean { fill: var(--fill); }
details { margin: 16px 0; }
summary { cursor: pointer; font-weight: 600; }
@media (max-width: 600px) {
  .claims thead { display: none; }
  .claims tr { display: block; padding: 10px 0; border-bottom: 1px solid var(--line); }
  .claims th, .claims td { display: block; border: 0; padding: 2px 0; }
  .plot text { font-size: 20px; }
}
"""


def render(report: ClaimsReport) -> str:
    """Return the HTML of the page; every text in it is escaped."""
    sections = "\n".join(
        _section(section, number) for number, section in enumerate(report.sections)
    )
    seeds = len(report.budget.seeds)
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>internvideo: the claims of the paper, put to the test</title>
<style>
{STYLE}{_CSS}</style>
</head>
<body>
<header>
<p class="kicker">internvideo reproduce · budget {escape(report.budget.name)}</p>
<h1>The claims of the paper, <em>put to the test</em></h1>
<p class="lead">Statements of the InternVideo paper, tested with networks of a million parameters
that were trained from scratch on a procedural world. That says whether the mechanism works here,
not whether the published numbers are right.</p>
</header>
<main>
<section aria-labelledby="rule"><h2 id="rule">How it is decided</h2>
<p>Every comparison is paired over {seeds} seeds; each seed has clips, initial weights and orders
of its own. A comparison <strong>holds</strong> where the 95% t interval of the mean difference lies
above zero, and <strong>does not hold</strong> where it lies below; where zero is inside, it is
<strong>not shown</strong>. A claim holds if all of its comparisons do. The rule was written down
before any result.</p></section>
{sections}
{_again(report)}
</main>
<footer><p>{report.cpu_seconds / 60:.0f} minutes of one core in {len(report.steps)} steps, on
{escape(report.machine)}.</p></footer>
</body>
</html>
"""


def _section(section: Section, number: int) -> str:
    mark = f"data-{number}"
    head = (
        f'<section aria-labelledby="{mark}"><h2 id="{mark}">{escape(section.title)}</h2>'
        f"<p>{escape(section.about)}</p>"
    )
    if section.skipped:
        return f"{head}<p><strong>Skipped:</strong> {escape(section.skipped)}.</p></section>"
    rows = "".join(_summary_row(finding) for finding in section.findings)
    claims = "".join(
        _claim(finding, f"plot-{number}-{finding.claim.letter}") for finding in section.findings
    )
    return f"""{head}
<table class="claims"><caption>The claims and their verdicts</caption>
<thead><tr><th scope="col">claim</th><th scope="col">what was compared, and the difference</th>
<th scope="col">verdict</th></tr></thead>
<tbody>{rows}</tbody></table>
{claims}</section>"""


def _summary_row(finding: Finding) -> str:
    compared = "".join(
        f"<div class='pair'><span>{escape(each.comparison.measure)}</span>"
        f"<span class='number'>{_difference(each)}</span></div>"
        for each in finding.outcomes
    )
    claim = finding.claim
    return (
        f"<tr><th scope='row'>({claim.letter}) {escape(claim.statement)}</th><td>{compared}</td>"
        f"<td>{_verdict(finding.verdict)}</td></tr>"
    )


def _difference(outcome: Outcome) -> str:
    if not outcome.differences:
        return "–"
    low, high = outcome.interval
    return f"{outcome.mean:+.1f} ({low:+.1f} to {high:+.1f})"


def _verdict(verdict: str) -> str:
    kind = _CLASSES.get(verdict, "open")
    return (
        f'<p class="verdict {kind}"><span aria-hidden="true">{_MARKS[verdict]}</span> '
        f"{escape(verdict)}</p>"
    )


def _claim(finding: Finding, mark: str) -> str:
    claim = finding.claim
    measured = [each for each in finding.outcomes if each.differences]
    plot = f'<div class="scroll">{_plot(mark, measured)}</div>' if measured else ""
    return f"""<h3>({claim.letter}) {escape(claim.statement)}</h3>
{_verdict(finding.verdict)}
<p>{escape(claim.tested)}</p>
{plot}
{_arms(finding)}"""


def _arms(finding: Finding) -> str:
    """Return the table of what was measured, a row an arm."""
    rows: list[tuple[str, str, Sequence[float], str]] = []
    for outcome in finding.outcomes:
        asked = outcome.comparison
        for arm, values, note in (
            (asked.better, outcome.better, "claimed to be higher"),
            (asked.worse, outcome.worse, "compared with"),
        ):
            best = ", the best of each seed" if len(arm) > 1 else ""
            rows.append((asked.measure, title_of(arm), values, note + best))
    rows += [(measure, title, values, "beside") for measure, title, values in finding.beside]
    body = "".join(
        f"<tr><th scope='row'>{escape(title)}<small>{escape(measure)}</small></th>"
        f"<td class='value'>{spread(values)}</td>"
        f"<td>{', '.join(f'{value:.1f}' for value in values)}</td><td>{escape(note)}</td></tr>"
        for measure, title, values, note in rows
        if values
    )
    if not body:
        return ""
    return f"""<div class="scroll"><table class="arms">
<caption>What was measured, in percent</caption>
<thead><tr><th scope="col">%</th><th scope="col">mean ± sd</th><th scope="col">seed by seed</th>
<th scope="col"><span class="hidden">role</span></th></tr></thead>
<tbody>{body}</tbody></table></div>"""


def _plot(mark: str, outcomes: Sequence[Outcome]) -> str:
    """Return the differences as an SVG element: a dot a seed, the mean, its interval, and zero."""
    ends = [end for each in outcomes for end in (*each.interval, *each.differences, 0.0)]
    step = _tick(max(ends) - min(ends))
    low, high = math.floor(min(ends) / step) * step, math.ceil(max(ends) / step) * step
    high = max(high, low + step)
    height = len(outcomes) * _ROW + _FOOT

    def across(value: float) -> float:
        return _PAD + (value - low) / (high - low) * (_WIDTH - 2 * _PAD)

    parts = [
        f'<svg viewBox="0 0 {_WIDTH} {height}" class="plot" role="img" '
        f'xmlns="http://www.w3.org/2000/svg" aria-labelledby="{mark}">'
        f'<title id="{mark}">Differences in points, seed by seed, with the '
        "mean and its interval</title>"
    ]
    for number in range(round((high - low) / step) + 1):
        value = low + number * step
        x, kind = across(value), "zero" if abs(value) < step / 1e3 else "grid"
        parts.append(
            f'<line class="{kind}" x1="{x:.1f}" x2="{x:.1f}" y1="0" y2="{height - _FOOT}"/>'
            f'<text class="soft" x="{x:.1f}" y="{height - 8}" text-anchor="middle">'
            f"{value:+g}</text>"
        )
    for number, outcome in enumerate(outcomes):
        y = number * _ROW + 32
        left, right = (across(end) for end in outcome.interval)
        parts.append(
            f'<text x="{_PAD}" y="{y - 14}">{escape(outcome.comparison.measure)}</text>'
            f'<line class="range" x1="{left:.1f}" x2="{right:.1f}" y1="{y}" y2="{y}"/>'
        )
        parts += [
            f'<circle class="seed" cx="{across(value):.1f}" cy="{y}" r="4">'
            f"<title>{value:+.1f}</title></circle>"
            for value in outcome.differences
        ]
        mean = statistics.fmean(outcome.differences)
        parts.append(f'<circle class="mean" cx="{across(mean):.1f}" cy="{y}" r="6"/>')
    return "".join(parts) + "</svg>"


def _tick(span: float) -> float:
    """Return a round step of which a handful fit into the span."""
    if span <= 0:
        return 1.0
    power = 10.0 ** math.floor(math.log10(span / 4))
    return next(power * each for each in (1, 2, 5, 10) if power * each >= span / 6)


def _again(report: ClaimsReport) -> str:
    rows = "".join(
        f"<tr><th scope='row'><code>{escape(name)}</code></th><td>{cpu:.0f} s</td></tr>"
        for name, cpu, _ in report.steps
    )
    return f"""<section aria-labelledby="again"><h2 id="again">Make it again</h2>
<pre><code>{escape(report.command)}</code></pre>
<p>The same command goes on after a stop, whatever stopped it. Beside this page,
<a href="report.json">report.json</a> has all numbers; every step has a folder with its result and,
where something was trained, the recipe, the log, the curves and the model.</p>
<details><summary>What each step took</summary>
<div class="scroll"><table class="rates"><caption>CPU time</caption>
<thead><tr><th scope="col">step</th><th scope="col">CPU time</th></tr></thead>
<tbody>{rows}</tbody></table></div></details></section>"""
