"""The section of the page about the classifier: rates, labels saved, a clip filled in."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from internvideo.demo.recognition import LabelEfficiency, Picture, Recognition
from internvideo.demo.report import MEASURES

__all__ = ["recognition_section"]

_ARMS = {
    "pretrained": "fine-tuned after masked pretraining",
    "scratch": "fine-tuned from random weights",
    "pretrained-probe": "linear probe of the pretrained encoder",
    "random-probe": "control: linear probe of a random encoder",
    "one-frame": "control: fine-tuned on one repeated frame",
}
_WIDTH, _HEIGHT, _LEFT, _BOTTOM, _TOP, _RIGHT = 640, 300, 52, 40, 14, 48


def recognition_section(recognition: Recognition) -> str:
    """Return the section as HTML; every name in it is escaped."""
    rates = "".join(
        f"<tr><th scope='row'>{escape(MEASURES[name][0])}</th>"
        f"<td class='value'>{rate.value:.1%}</td>"
        f"<td>{rate.interval[0]:.1%} – {rate.interval[1]:.1%}</td><td>{rate.chance:.1%}</td>"
        f"<td>{rate.total}</td></tr>"
        for name, rate in recognition.rates.items()
        if rate.total
    )
    parts = [
        f"""<p>{escape(recognition.about)}. The same {recognition.num_clips} clips, this time asked
of a classifier: it learnt the motions from clips without labels, by filling in hidden places, and
the names of the actions afterwards.</p>
<div class="scroll"><table class="rates"><caption>Results of the classifier</caption>
<thead><tr><th scope="col">measure</th><th scope="col">result</th>
<th scope="col">95% interval</th><th scope="col">chance</th><th scope="col">clips</th></tr>
</thead><tbody>{rates}</tbody></table></div>""",
        _efficiency(recognition.efficiency) if recognition.efficiency else "",
        _reconstruction(recognition.reconstruction) if recognition.reconstruction else "",
    ]
    title = f"Actions by name: {escape(recognition.model)}"
    return f"""<section aria-labelledby="recognition"><h2 id="recognition">{title}</h2>
{"".join(parts)}</section>"""


def _efficiency(efficiency: LabelEfficiency) -> str:
    rows = "".join(
        f"<tr><th scope='row'>{int(row['labels']):,}</th>"
        f"<td>{escape(_ARMS.get(row['arm'], str(row['arm'])))}</td>"
        f"<td class='value'>{row['accuracy_mean']:.1f}%</td><td>{_spread(row)}</td>"
        f"<td>{row['pair_mean']:.1f}%</td><td>{_rate_of(row)}</td></tr>"
        for row in efficiency.rows
    )
    gains = "; ".join(
        f"{int(labels):,} labels: {', '.join(f'{gain:+.1f}' for gain in each)}"
        for labels, each in efficiency.gains.items()
    )
    return f"""<h3>What the pretraining is worth</h3>
<p>The same network, fine-tuned on few labelled clips after masked pretraining and from random
weights; each with the learning rate that suits it best, tuned on other clips; measured on
{efficiency.test_clips:,} clips that neither has seen. Pretrained minus scratch in points, one
number a seed: {escape(gains)}.</p>
<div class="scroll">{_chart(efficiency.rows)}</div>
<div class="scroll"><table class="rates labels"><caption>Accuracy by labels</caption>
<thead><tr><th scope="col">labels</th><th scope="col">network</th><th scope="col">action</th>
<th scope="col">over the seeds</th><th scope="col">above its reversal</th>
<th scope="col">learning rate</th></tr>
</thead><tbody>{rows}</tbody></table></div>
<p class="legend">Measured beforehand on {escape(efficiency.machine)} by
<code>{escape(efficiency.command)}</code>.</p>"""


def _spread(row: Mapping[str, Any]) -> str:
    count = len(row["seeds"])
    if row["accuracy_sd"] is None:
        return "1 seed"
    return f"± {row['accuracy_sd']:.1f} ({count} seeds)"


def _rate_of(row: Mapping[str, Any]) -> str:
    return f"{row['lr']:g}" if row.get("lr") else "–"


def _chart(rows: Sequence[Mapping[str, Any]]) -> str:
    """Return the accuracies over the number of labels as an SVG element."""
    labels = sorted({int(row["labels"]) for row in rows})
    low, high = math.log(labels[0]), math.log(max(labels[-1], labels[0] + 1))

    def across(count: int) -> float:
        return _LEFT + (math.log(count) - low) / (high - low) * (_WIDTH - _LEFT - _RIGHT)

    def down(percent: float) -> float:
        return _TOP + (1 - percent / 100) * (_HEIGHT - _TOP - _BOTTOM)

    parts = [
        f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" class="chart" role="img" '
        'xmlns="http://www.w3.org/2000/svg" aria-labelledby="chart-title">'
        '<title id="chart-title">Accuracy over the number of labelled clips</title>'
    ]
    for percent in range(0, 101, 20):
        y = down(percent)
        parts.append(
            f'<line class="grid" x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>'
            f'<text x="{_LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{percent}%</text>'
        )
    for count in labels:
        parts.append(
            f'<text x="{across(count):.1f}" y="{_HEIGHT - _BOTTOM + 20}" text-anchor="middle">'
            f"{count:,} labels</text>"
        )
    for number, arm in enumerate(_ARMS):
        points = [(across(int(row["labels"])), row) for row in rows if row["arm"] == arm]
        if not points:
            continue
        path = " ".join(f"{x:.1f},{down(row['accuracy_mean']):.1f}" for x, row in points)
        parts.append(f'<polyline class="arm{number}" points="{path}"/>')
        for x, row in points:
            mean, spread = row["accuracy_mean"], row["accuracy_sd"] or 0.0
            parts.append(
                f'<line class="arm{number}" x1="{x:.1f}" x2="{x:.1f}" '
                f'y1="{down(mean - spread):.1f}" y2="{down(mean + spread):.1f}"/>'
                f'<circle class="arm{number}" cx="{x:.1f}" cy="{down(mean):.1f}" r="4">'
                f"<title>{escape(_ARMS[arm])}, {row['labels']:,} labels: {mean:.1f}%</title>"
                "</circle>"
            )
    keys = "".join(
        f'<li><span class="dot arm{number}" aria-hidden="true"></span>{escape(title)}</li>'
        for number, (arm, title) in enumerate(_ARMS.items())
        if any(row["arm"] == arm for row in rows)
    )
    return "".join(parts) + f'</svg><ul class="keys">{keys}</ul>'


def _reconstruction(picture: Picture) -> str:
    return f"""<h3>What it makes of what it cannot see</h3>
<p>In pretraining, half of the places of a clip are hidden, the same ones in all frames, and the
network has to say what moves there.</p>
<figure><img src="{escape(picture.source)}" alt="{escape(picture.title)}"
loading="lazy"></figure>"""
