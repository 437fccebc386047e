"""What is handed in to the challenge of Ego4D's language queries, written and read.

    {"version": "1.0", "challenge": "ego4d_nlq_challenge", "results": [{"clip_uid",
     "annotation_uid", "query_idx", "predicted_times": [[start, end], …]}]}

Of other data sets the same file is written, with the id or the number of a query as its
`annotation_uid`, so that every set of answers can be kept and scored.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, cast

from internvideo.errors import DataError
from internvideo.files import write_whole
from internvideo.formats.ego4d_nlq import split_query_id
from internvideo.tasks.language_queries.queries import Query
from internvideo.tasks.language_queries.report import Spans

__all__ = ["read_submission", "write_submission"]

_HEADER = {"version": "1.0", "challenge": "ego4d_nlq_challenge"}


def write_submission(path: Path, answers: Iterable[tuple[Query, Spans]]) -> None:
    """Write the file that the challenge takes; times are in seconds from the start of a clip."""
    results = [{**_names(query), "predicted_times": found.times} for query, found in answers]
    write_whole(path, json.dumps({**_HEADER, "results": results}) + "\n")


def read_submission(path: Path, queries: Iterable[Query]) -> dict[Query, Spans]:
    """Read such a file, and find out which queries it answers.

    Args:
        path: the file.
        queries: all that there are.

    Raises:
        DataError: it is no such file, or answers a query that there is not, or one twice.
    """
    try:
        content: Any = json.loads(path.read_text(encoding="utf-8"))
        results = content["results"]
    except FileNotFoundError:
        raise DataError(f"no file of predictions {path}; check the path") from None
    except (ValueError, KeyError, TypeError):
        raise DataError(
            f"{path} is no submission; expected a json with 'version', 'challenge' and 'results'"
        ) from None
    for key, value in _HEADER.items():
        if content.get(key) != value:
            raise DataError(f"{path}: {key} is {content.get(key)!r}; expected {value!r}")
    known = {tuple(_names(query).values()): query for query in queries}
    answers: dict[Query, Spans] = {}
    for number, result in enumerate(cast("list[Any]", results), start=1):
        where = f"{path}: result {number}"
        names, times = _result(result, where)
        query = known.get(names)
        if query is None:
            clip, annotation, place = names
            raise DataError(
                f"{where} answers query {place} of annotation {annotation} of clip {clip}, which "
                "the annotations do not have; take those of the same split"
            )
        if query in answers:
            raise DataError(f"{where} answers {query.name} a second time; keep one of them")
        answers[query] = Spans(times)
    return answers


def _names(query: Query) -> dict[str, Any]:
    """Return what a query is called in a submission."""
    try:
        annotation, number = split_query_id(query.id)
    except DataError:
        annotation, number = query.id or str(query.number), 0
    return {"clip_uid": query.video, "annotation_uid": annotation, "query_idx": number}


def _result(result: Any, where: str) -> tuple[tuple[Any, ...], tuple[tuple[float, float], ...]]:
    keys = ("clip_uid", "annotation_uid", "query_idx", "predicted_times")
    if not isinstance(result, Mapping) or any(key not in result for key in keys):
        raise DataError(f"{where}: expected an object with {', '.join(keys)}")
    *names, times = (cast("Mapping[str, Any]", result)[key] for key in keys)
    try:
        pairs = tuple((float(start), float(end)) for start, end in times)
    except (TypeError, ValueError):
        pairs = ((math.nan, math.nan),)
    if not all(math.isfinite(number) for pair in pairs for number in pair):
        raise DataError(f"{where}: predicted_times must be pairs of seconds, best first")
    return tuple(names), pairs
