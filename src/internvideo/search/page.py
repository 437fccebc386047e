"""The page of a search: one HTML file with the frames of the hits in it."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from html import escape
from pathlib import Path, PurePosixPath
from urllib.parse import quote

import numpy as np

from internvideo.errors import VideoError
from internvideo.search.cutting import thumbnail
from internvideo.search.hits import Hit, clock
from internvideo.search.library import LibraryStatus
from internvideo.video import Video
from internvideo.video.sources import is_url

__all__ = ["hits_page"]

_STYLE = Path(__file__).with_name("page.css")
_FRAMES = 4


def hits_page(query: str, hits: Sequence[Hit], library: LibraryStatus) -> str:
    """Return the HTML of the hits; every name in it is escaped.

    The frames are read from the videos; where one cannot be read any more, there is the thumbnail
    that the library has.
    """
    cards = "\n".join(_card(rank, hit) for rank, hit in enumerate(hits, start=1))
    found = f'<ol class="hits">{cards}</ol>' if hits else "<p>Nothing was found.</p>"
    store = library.store
    long = (
        f"{library.hours:,.1f} hours" if library.hours >= 1 else f"{60 * library.hours:.1f} minutes"
    )
    facts = (
        f"{len(store.videos):,} videos, {store.num_parts:,} parts, {long} in "
        f"{library.uri} · {library.manifest.cut.describe()} · {library.manifest.model}"
    )
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{escape(query)} · internvideo search</title>
<style>
{_STYLE.read_text(encoding="utf-8")}</style>
</head>
<body>
<header><h1>{escape(query)}</h1><p>{escape(facts)}</p></header>
<main>{found}</main>
<footer><p>Made by <code>internvideo search</code>. A score is the cosine of two vectors: it ranks,
and says not whether anything fits.</p></footer>
</body>
</html>
"""


def _card(rank: int, hit: Hit) -> str:
    frames = _frames(hit)
    pictures = "".join(
        f'<img src="{escape(frame)}" alt="Frame {number} of hit {rank}" loading="lazy">'
        for number, frame in enumerate(frames, start=1)
    )
    name = PurePosixPath(hit.path.partition("?")[0]).name or hit.path
    when = f"{clock(hit.start)} – {clock(hit.end)}"
    score = hit.score if hit.match is None else hit.match
    similar = f" · {hit.num_similar} similar" if hit.num_similar else ""
    facts = f"{hit.part.width}×{hit.part.height}, {hit.date:%Y-%m-%d}{similar}"
    width = f"{100 * min(max(score, 0.0), 1.0):.1f}%"
    return f"""<li><div class="frames{" one" if len(frames) == 1 else ""}">{pictures}</div>
<div class="about"><h2><a href="{escape(_link(hit))}">{rank}. {escape(name)}</a></h2>
<p class="score"><span class="bar" aria-hidden="true"><span style="width:{width}"></span></span>
<span>{score:.3f}</span></p>
<p>{when} <small>{escape(facts)}</small><small>{escape(hit.path)}</small></p></div></li>"""


def _link(hit: Hit) -> str:
    """Return an address that browsers play from the start of the hit to its end."""
    address = hit.path if is_url(hit.path) else f"file://{quote(hit.path)}"
    return f"{address}#t={hit.start:.2f},{hit.end:.2f}"


def _frames(hit: Hit) -> list[str]:
    """Return frames from the start of a hit to its end as data URIs."""
    part = hit.part
    last = part.first_frame + part.num_frames - 1
    numbers = np.unique(np.linspace(part.first_frame, last, _FRAMES + 2).round()[1:-1].astype(int))
    try:
        with Video(hit.path) as video:
            jpegs = [thumbnail(frame) for frame in video.frames(numbers)]
    except VideoError:
        return [hit.data_uri()]
    return [f"data:image/jpeg;base64,{base64.b64encode(jpeg).decode('ascii')}" for jpeg in jpegs]
