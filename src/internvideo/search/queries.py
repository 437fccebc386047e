"""What is searched for as a vector: a sentence, or a moment of a video."""

from __future__ import annotations

import logging
import unicodedata
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from torch import Tensor

from internvideo.errors import ConfigError
from internvideo.evaluation.embedding import VideoEmbedder
from internvideo.evaluation.engine import Seen, answers
from internvideo.models.tokenizer import CLIPTokenizer, WordTokenizer
from internvideo.models.wordpiece import WordPieceTokenizer
from internvideo.pipeline import VideoModel
from internvideo.search.cutting import Span, decode_spans
from internvideo.search.files import whole_path
from internvideo.search.records import Cut, Part
from internvideo.video import Video
from internvideo.zoo.hub import LoadedModel

__all__ = ["Moment", "embed_text"]

_LOG = logging.getLogger(__name__)
_MARKS = 2  # tokens in front of a text and behind it


def embed_text(model: VideoModel, text: str) -> Float[np.ndarray, " d"]:
    """Return the vector of a sentence; what the model will not read of it is a warning.

    Raises:
        ConfigError: there are no words, the model knows none of them, or has no text tower.
    """
    if not text.strip():
        raise ConfigError("the text to search for is empty; describe what is to be seen")
    tokenizer = model.tokenizer
    if isinstance(tokenizer, WordTokenizer):
        known = [each for each in tokenizer.encode(text) if each != tokenizer.unknown_id]
        if not known:
            raise ConfigError(
                f"{model.name} knows none of the words of {_shortened(text)!r}; it knows "
                f"{len(tokenizer.vocabulary)} words of a world of moving shapes. Index the videos "
                "with a model for real ones"
            )
    if tokenizer is not None:
        room, used = tokenizer.context_length - _MARKS, len(tokenizer.encode(text))
        if used > room:
            _LOG.warning(
                "%s reads the first %d tokens of the text, which has %d; shorten it",
                model.name, room, used,
            )  # fmt: skip
        if isinstance(tokenizer, CLIPTokenizer | WordPieceTokenizer) and not _is_latin(text):
            _LOG.warning("%s has learnt English; other languages find little", model.name)
    return model.embed_text(text)[0].numpy()


def _is_latin(text: str) -> bool:
    """Return whether at least half of the letters are Latin."""
    letters = [each for each in text if each.isalpha()]
    latin = sum("LATIN" in unicodedata.name(each, "") for each in letters)
    return 2 * latin >= len(letters)


def _shortened(text: str) -> str:
    return text if len(text) <= 60 else f"{text[:57]}…"


@dataclass(frozen=True, slots=True)
class Moment:
    """A moment of a video: the window around it.

    Attributes:
        path: an absolute path, or an address.
        seconds: from the start of the video.
    """

    path: str
    seconds: float

    @classmethod
    def parse(cls, text: str) -> Moment:
        """Return the moment of `FILE@SECONDS`.

        Raises:
            ConfigError: it is written otherwise.
        """
        path, sign, seconds = text.rpartition("@")
        try:
            moment = cls(whole_path(path), float(seconds))
        except ValueError:
            moment = cls("", -1.0)
        if not sign or not path or not 0 <= moment.seconds < float("inf"):
            raise ConfigError(
                f"a moment is written FILE@SECONDS, such as film.mp4@12.5, not {text!r}"
            )
        return moment

    def is_in(self, part: Part) -> bool:
        """Return whether it is in a part of a video."""
        return part.file.path == self.path and part.start <= self.seconds < part.end

    def embed(self, model: LoadedModel, cut: Cut) -> Float[np.ndarray, " d"]:
        """Return the vector of the window around it, as long as those of a library.

        Raises:
            ConfigError: the video is over before.
            VideoError: it cannot be read.
        """
        embedder = VideoEmbedder(model)
        with Video(self.path) as video:
            if self.seconds >= video.duration:
                raise ConfigError(
                    f"{self.path} is over after {video.duration:.1f} s; there is no moment at "
                    f"{self.seconds:g} s"
                )
            length = min(max(round(cut.window * video.fps), 1), video.num_frames)
            middle = int(np.searchsorted(video.timestamps().numpy(), self.seconds))
            first = min(max(middle - length // 2, 0), video.num_frames - length)
            [(views, _)] = decode_spans(video, embedder.protocol, [Span(first, length)])
        [(_, vector)] = answers(embedder, [Seen(self.path, views)])
        assert isinstance(vector, Tensor)
        return vector.numpy()
