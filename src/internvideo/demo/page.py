"""The page of the demonstration: one HTML file with everything in it, for any browser."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any

from internvideo.demo.pictures import ARMS, accuracy_chart, confusion_svg
from internvideo.demo.recognition import Picture, Recognition
from internvideo.demo.report import MEASURES, ActionRow, Rate, WorldReport
from internvideo.evaluation.classification import Classification

__all__ = ["STYLE", "PageContent", "ShownVideo", "recognition_section", "render_page"]

STYLE = Path(__file__).with_name("page.css").read_text(encoding="utf-8")
"""The look of the pages that the library writes, light and dark."""
_ANSWERS = 4
_ID = re.compile(r'<h2 id="([a-z]+)"')


@dataclass(frozen=True, kw_only=True, slots=True)
class ShownVideo:
    """A video on the page.

    Attributes:
        title: what it is called.
        strip: its frames as a data URI, see `filmstrip`.
        answer: what the model says.
        truth: what is right, where that is known.
        facts: length and size, in words.
        moving: the same as an animation, see `moving`.
        caption: a sentence of a captioner about it.
    """

    title: str
    strip: str
    answer: Classification
    truth: str | None = None
    facts: str = ""
    moving: str = ""
    caption: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class PageContent:
    """Everything that the page shows.

    Attributes:
        about: what the model is and what it knows, in a sentence or two.
        report: the numbers, with the name of the model and how it looks at a video.
        clips: some of the world clips with their truth.
        mistakes: others, which the model is most wrong about.
        captioner: which model wrote the captions.
        videos: the user's own videos.
        caution: what to know before the answers about these are believed.
        failures: (video, reason) of those that could not be used.
        machine: what it ran on.
        seconds: name of a stage → its time.
        command: how to make the page again.
        recognition: the classifier's part, where one was asked.
    """

    about: str
    report: WorldReport
    clips: Sequence[ShownVideo]
    videos: Sequence[ShownVideo]
    failures: Sequence[tuple[str, str]]
    machine: str
    seconds: dict[str, float]
    command: str
    recognition: Recognition | None = None
    caution: str = ""
    mistakes: Sequence[ShownVideo] = ()
    captioner: str = ""


def render_page(content: PageContent) -> str:
    """Return the HTML of the page; every name in it is escaped."""
    report = content.report
    written = f" Below the title: what {content.captioner} writes." if content.captioner else ""
    sections = {
        "Your videos": _your_videos(content),
        "The numbers": _numbers(report),
        "Some clips": _clips(content.clips, written),
        "Mistakes": _mistakes(content.mistakes),
        "Action by action": _actions(report),
        "Which for which": _confusion(report),
        "Actions by name": recognition_section(content.recognition) if content.recognition else "",
        "Make it again": _reproduce(content),
    }
    there = {title: section for title, section in sections.items() if section}
    listed = "".join(
        f'<li><a href="#{_ID.findall(section)[0]}">{title}</a></li>'
        for title, section in there.items()
    )
    body = "\n".join(there.values())
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>internvideo: what {escape(content.report.model)} sees</title>
<style>
{STYLE}</style>
</head>
<body>
<header>
<p class="kicker">internvideo demo</p>
<h1>What <em>{escape(content.report.model)}</em> sees</h1>
<p class="lead">{escape(content.about)}</p>
{_headline(content.report)}
<nav aria-label="Contents"><ul>{listed}</ul></nav>
</header>
<main>
{body}
</main>
<footer><p>Made by <code>internvideo demo</code> in {sum(content.seconds.values()):.0f} s on
{escape(content.machine)}.</p></footer>
</body>
</html>
"""


def _headline(report: WorldReport) -> str:
    """Return the four numbers that matter most, large."""
    tiles = []
    for name in ("accuracy", "pair_accuracy", "color_accuracy", "single_frame_accuracy"):
        rate = report.rates.get(name)
        if rate is None or not rate.total:
            continue
        tiles.append(
            f'<li><strong>{rate.percent:.0f}%</strong><span class="what">'
            f'{escape(MEASURES[name][0])}</span><span class="chance">chance '
            f"{f'{100 * rate.chance:.1f}'.removesuffix('.0')}%</span></li>"
        )
    return f'<ul class="tiles">{"".join(tiles)}</ul>'


def _numbers(report: WorldReport) -> str:
    speed = report.num_answered / report.seconds if report.seconds else 0.0
    return f"""<section aria-labelledby="numbers"><h2 id="numbers">The numbers, beside chance</h2>
<p>{report.num_answered} clips of the procedural world that the model has never seen
(seed {report.seed}, {escape(report.source)}), {len(report.labels)} actions. The model was
not trained on these labels: each action is described by at least {report.prompts_per_action}
sentences that were held out of its training captions. Intervals are 95% (Wilson).
Reading and encoding took {report.seconds:.1f} s ({speed:.0f} clips a second).</p>
{_rates_table(report, "Zero-shot results")}
<p class="legend"><span class="key mark" aria-hidden="true"></span> chance
<span class="key range" aria-hidden="true"></span> 95% interval</p></section>"""


def _rates_table(report: WorldReport, caption: str, *, explained: bool = True) -> str:
    rows = "".join(
        f"<tr><th scope='row'>{escape(MEASURES[name][0])}"
        f"{f'<small>{escape(MEASURES[name][1])}</small>' if explained else ''}</th>"
        f"{_rate_cells(rate)}</tr>"
        for name, rate in report.rates.items()
    )
    return f"""<div class="scroll"><table class="rates"><caption>{caption}</caption>
<thead><tr><th scope="col">measure</th><th scope="col">result</th>
<th scope="col"><span class="hidden">bar</span></th><th scope="col">interval</th>
<th scope="col">chance</th><th scope="col">clips</th></tr></thead>
<tbody>{rows}</tbody></table></div>"""


def _rate_cells(rate: Rate) -> str:
    if not rate.total:
        return "<td>–</td><td></td><td></td><td></td><td>0</td>"
    low, high = rate.interval
    return (
        f"<td class='value'>{rate.percent:.1f}%</td><td class='meter'>{_meter(rate)}</td>"
        f"<td>{low:.1f}% – {high:.1f}%</td><td>{rate.chance:.1%}</td><td>{rate.total}</td>"
    )


def _meter(rate: Rate) -> str:
    low, high = rate.interval
    return (
        '<span class="bar" aria-hidden="true">'
        f'<span class="fill" style="width:{rate.percent:.2f}%"></span>'
        f'<span class="range" style="left:{low:.2f}%;width:{high - low:.2f}%"></span>'
        f'<span class="mark" style="left:{rate.chance:.2%}"></span></span>'
    )


def _your_videos(content: PageContent) -> str:
    if not content.videos and not content.failures:
        return ""
    cards = "".join(_card(video) for video in content.videos)
    failed = "".join(
        f"<li><code>{escape(name)}</code>: {escape(reason)}</li>"
        for name, reason in content.failures
    )
    asked = f"Asked: {escape(content.videos[0].answer.model)}. " if content.videos else ""
    listed = f"<p>Not usable:</p><ul class='failed'>{failed}</ul>" if failed else ""
    caution = f'<p class="caution">{escape(content.caution)}</p>' if content.caution else ""
    return f"""<section aria-labelledby="yours"><h2 id="yours">Your videos</h2>
{caution}<p>{asked}The scores say which of the given sentences fits best, never that one of them is
true.</p>
<div class="cards">{cards}</div>{listed}</section>"""


def _clips(clips: Sequence[ShownVideo], written: str) -> str:
    cards = "".join(_card(clip) for clip in clips)
    return f"""<section aria-labelledby="clips"><h2 id="clips">Some of the clips</h2>
<p>The first clip of each of {len(clips)} actions, right or wrong. Eight of its frames, from left
to right, and the best answers among all actions.{escape(written)}</p>
<div class="cards">{cards}</div></section>"""


def _mistakes(clips: Sequence[ShownVideo]) -> str:
    if not clips:
        return ""
    cards = "".join(_card(clip) for clip in clips)
    return f"""<section aria-labelledby="mistakes"><h2 id="mistakes">Its mistakes</h2>
<p>Clips that it is surest about and wrong, each of another action.</p>
<div class="cards">{cards}</div></section>"""


def _card(video: ShownVideo) -> str:
    """Return a figure: frames, best answers as bars, and whether the best is right."""
    verdict = ""
    if video.truth is not None:
        right = video.answer.label == video.truth
        mark, word = ("✓", "right") if right else ("✗", "wrong")
        verdict = (
            f'<p class="verdict {word}"><span aria-hidden="true">{mark}</span> {word}'
            f"<span class='truth'>truth: {escape(video.truth)}</span></p>"
        )
    rows = "".join(
        f"<li{_is_truth(label, video.truth)}><span class='label'>{escape(label)}</span>"
        f"<span class='bar' aria-hidden='true'><span class='fill' style='width:{share:.2%}'></span>"
        f"</span><span class='share'>{share:.1%}</span></li>"
        for label, share in video.answer.top(_ANSWERS)
    )
    facts = f"<small>{escape(video.facts)}</small>" if video.facts else ""
    caption = f'<p class="caption">“{escape(video.caption)}”</p>' if video.caption else ""
    moving = (
        f'<img class="moving" src="{escape(video.moving)}" loading="lazy" '
        f'alt="{escape(video.title)}, moving">'
        if video.moving
        else ""
    )
    return f"""<figure><img src="{escape(video.strip)}" alt="Frames of {escape(video.title)}"
loading="lazy"><figcaption>{moving}<div><h3>{escape(video.title)}</h3>{facts}{caption}{verdict}
<ol class="answers">{rows}</ol></div></figcaption></figure>"""


def _is_truth(label: str, truth: str | None) -> str:
    return ' class="true"' if label == truth else ""


def _actions(report: WorldReport) -> str:
    rows = "".join(_action_row(row) for row in report.per_action)
    return f"""<section aria-labelledby="actions"><h2 id="actions">Action by action</h2>
<div class="scroll"><table class="actions"><caption>Results of each action</caption>
<thead><tr><th scope="col">action</th><th scope="col">clips</th><th scope="col">right</th>
<th scope="col"><span class="hidden">bar</span></th><th scope="col">reversal</th>
<th scope="col">above its reversal</th><th scope="col">most often mistaken for</th></tr></thead>
<tbody>{rows}</tbody></table></div></section>"""


def _action_row(row: ActionRow) -> str:
    accuracy, pair = row.accuracy, row.pair_accuracy
    right = f"{accuracy.percent:.0f}%" if accuracy.total else "–"
    meter = _meter(accuracy) if accuracy.total else ""
    above = f"{pair.percent:.0f}%" if pair is not None and pair.total else "–"
    return (
        f"<tr><th scope='row'>{escape(row.action)}</th><td>{accuracy.total}</td>"
        f"<td class='value'>{right}</td><td class='meter'>{meter}</td>"
        f"<td>{escape(row.reversal or '–')}</td><td>{above}</td>"
        f"<td>{escape(row.mistaken_for or '–')}</td></tr>"
    )


def _confusion(report: WorldReport) -> str:
    return f"""<section aria-labelledby="confusion"><h2 id="confusion">Which action for which</h2>
<p>Rows are true, columns are answers. What is right lies on the diagonal; what lies just beside it
is often an action taken for its own time reversal.</p>
<div class="scroll">{confusion_svg(report.labels, report.confusion.tolist())}</div></section>"""


def recognition_section(recognition: Recognition) -> str:
    """Return the section about the classifier: rates, labels saved, a clip filled in."""
    report = recognition.report
    parts = [
        f"""<p>{escape(recognition.about)}. The same {report.num_answered} clips, this time asked
of a classifier: it learnt the motions from clips without labels, by filling in hidden places, and
the names of the actions afterwards.</p>
{_rates_table(report, "Results of the classifier", explained=False)}""",
        _efficiency(recognition.efficiency) if recognition.efficiency else "",
        _reconstruction(recognition.reconstruction) if recognition.reconstruction else "",
    ]
    title = f"Actions by name: {escape(report.model)}"
    return f"""<section aria-labelledby="recognition"><h2 id="recognition">{title}</h2>
{"".join(parts)}</section>"""


def _efficiency(efficiency: Mapping[str, Any]) -> str:
    rows = "".join(
        f"<tr><th scope='row'>{int(row['labels']):,}</th>"
        f"<td>{escape(ARMS.get(row['arm'], str(row['arm'])))}</td>"
        f"<td class='value'>{row['accuracy_mean']:.1f}%</td><td>{_spread(row)}</td>"
        f"<td>{row['pair_mean']:.1f}%</td><td>{_rate_of(row)}</td></tr>"
        for row in efficiency["rows"]
    )
    gains = "; ".join(
        f"{int(labels):,} labels: {', '.join(f'{gain:+.1f}' for gain in each)}"
        for labels, each in efficiency["gains"].items()
    )
    return f"""<h3>What the pretraining is worth</h3>
<p>The same network, fine-tuned on few labelled clips after masked pretraining and from random
weights; each with the learning rate that suits it best, tuned on other clips; measured on
{efficiency["test_clips"]:,} clips that neither has seen. Pretrained minus scratch in points, one
number a seed: {escape(gains)}.</p>
<div class="scroll">{accuracy_chart(efficiency["rows"])}</div>
<div class="scroll"><table class="rates labels"><caption>Accuracy by labels</caption>
<thead><tr><th scope="col">labels</th><th scope="col">network</th><th scope="col">action</th>
<th scope="col">over the seeds</th><th scope="col">above its reversal</th>
<th scope="col">learning rate</th></tr>
</thead><tbody>{rows}</tbody></table></div>
<p class="legend">Measured beforehand on {escape(efficiency["machine"])} by
{_command(efficiency["command"])}.</p>"""


def _spread(row: Mapping[str, Any]) -> str:
    count = len(row["seeds"])
    if row["accuracy_sd"] is None:
        return "1 seed"
    return f"± {row['accuracy_sd']:.1f} ({count} seeds)"


def _rate_of(row: Mapping[str, Any]) -> str:
    return f"{row['lr']:g}" if row.get("lr") else "–"


def _reconstruction(picture: Picture) -> str:
    return f"""<h3>What it makes of what it cannot see</h3>
<p>In pretraining, half of the places of a clip are hidden, the same ones in all frames, and the
network has to say what moves there.</p>
<figure><img src="{escape(picture.source)}" alt="{escape(picture.title)}"
loading="lazy"></figure>"""


def _command(line: str) -> str:
    """Return a command line that is broken between its words, not at their hyphens."""
    words = (f'<span class="word">{escape(word)}</span>' for word in line.split(" "))
    return f"<code>{' '.join(words)}</code>"


def _reproduce(content: PageContent) -> str:
    stages = "".join(
        f"<li>{escape(name)}: {seconds:.1f} s</li>" for name, seconds in content.seconds.items()
    )
    return f"""<section aria-labelledby="again"><h2 id="again">Make it again</h2>
<pre>{_command(content.command)}</pre>
<p>Input of the model: {escape(content.report.protocol)}.</p>
<p>All numbers are in <a href="report.json">report.json</a>. Time taken on
{escape(content.machine)}:</p><ul>{stages}</ul></section>"""
