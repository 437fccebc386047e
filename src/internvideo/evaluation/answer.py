"""What answers about a user's videos have in common: JSON, and the frame of their table."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from rich.table import Table

__all__ = ["Partial", "VideoAnswer", "captioned_table"]

_CAPTION_WIDTH = 78  # columns that a narrow table grows to, for the line below it


@dataclass(frozen=True, kw_only=True, slots=True)
class VideoAnswer:
    """What a model says about one video.

    Attributes:
        video: name or path of the video.
        model: name of the model.
        protocol: how the video was looked at: frames, sampling, crops.
    """

    video: str
    model: str = ""
    protocol: str = ""

    def contents(self) -> dict[str, Any]:
        """Return the answer itself as plain data."""
        raise NotImplementedError

    def to_dict(self) -> dict[str, Any]:
        """Return plain data: the video, the model, the protocol, and the answer itself."""
        header = {"video": self.video, "model": self.model, "protocol": self.protocol}
        return {**header, **self.contents()}

    def to_json(self) -> str:
        """Return `to_dict` as one line of JSON."""
        return json.dumps(self.to_dict(), ensure_ascii=False)

    def empty_table(self) -> Table:
        """Return a table with the video above and the model and protocol below."""
        return captioned_table(self.video, self.made_by())

    def filled_table(
        self, headings: Sequence[str], rows: Iterable[Sequence[str]], *, left: Collection[str]
    ) -> Table:
        """Return the table with these rows, their cells as plain text; `left` stand to the left."""
        from rich.markup import escape

        table = self.empty_table()
        for heading in headings:
            table.add_column(heading, justify="left" if heading in left else "right")
        for row in rows:
            table.add_row(*map(escape, row))
        return table

    def made_by(self) -> str:
        """Return the model and the protocol in words."""
        return ", ".join(part for part in (self.model, self.protocol) if part)


def captioned_table(title: str, caption: str) -> Table:
    """Return an empty table with plain lines above and below; the lower one may be the wider."""
    from rich.markup import escape
    from rich.table import Table

    return Table(
        title=escape(title) or None,
        caption=escape(caption) or None,
        caption_justify="left",
        min_width=min(len(caption), _CAPTION_WIDTH) or None,
    )


class Partial(NamedTuple):
    """A part of an answer that is known before the whole; the whole follows.

    Attributes:
        video: what it is about.
        answer: the part; as text it is one line.
        model: name of the model.
    """

    video: str
    answer: Any
    model: str = ""
