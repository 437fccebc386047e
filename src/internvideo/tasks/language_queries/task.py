"""Training a `VSLNet` on features: the first and last row of what a sentence asks for.

Source: the baseline of Ego4D's language queries, `NLQ/VSLNet` of EGO4D/episodic-memory.
"""

from __future__ import annotations

import string
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from internvideo.config import NonNegative, config_class
from internvideo.data.samples import EvaluationSource, Sample
from internvideo.data.words import read_words
from internvideo.errors import CheckpointError, DataError
from internvideo.models.vslnet import VSLNet
from internvideo.models.vslnet_text import (
    SPECIAL_IDS,
    BertText,
    BertTextConfig,
    QueryTokens,
    WordText,
)
from internvideo.models.wordpiece import read_vocabulary
from internvideo.tasks.language_queries.clips import QuerySample, QuerySource, feature_source
from internvideo.tasks.language_queries.reading import QueryReader
from internvideo.tasks.language_queries.spans import (
    highlight_labels,
    highlight_loss,
    location_loss,
)
from internvideo.tasks.parts import Parts
from internvideo.train.task import TrainableTask
from internvideo.zoo.load import load_model
from internvideo.zoo.starts import load_bert
from internvideo.zoo.transfer import load_weights

if TYPE_CHECKING:
    from lightning_fabric import Fabric

_LETTERS = string.ascii_lowercase + string.digits + "'-.,?!&/:;()\"$%#"

__all__ = ["SpanConfig", "SpanTraining", "build", "query_clips"]


@config_class
class SpanConfig:
    """Language queries: which part of a video a sentence asks for."""

    kind: Literal["language-queries"] = "language-queries"
    highlight_weight: NonNegative = Field(
        default=5.0, description="of the loss of the rows one by one"
    )
    skip_empty: bool = Field(default=False, description="leave out queries of no length")
    bert: str | None = Field(
        default=None, description="weight file or folder of the frozen BERT, such as bert-base"
    )


class SpanTraining(TrainableTask[VSLNet]):
    """Trains a `VSLNet` on the queries of a `QuerySource`."""

    def __init__(self, model: VSLNet, config: SpanConfig) -> None:
        super().__init__()
        self.model = model
        self.config = config

    def prepare(self, sample: Sample, rng: np.random.Generator) -> list[dict[str, Tensor]]:
        """Return `video` "t c", `span`, and the words; each with its size, without padding.

        Raises:
            DataError: the sample is a clip, not a query.
        """
        del rng
        if not isinstance(sample, QuerySample):
            raise DataError(
                f"{sample.key} is a clip without a query; leave out `sampling` and give data of "
                "kind features"
            )
        return [sample.tensors]

    def training_loss(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """Return the sum of the losses of the two ends and of the rows, and both of them."""
        shown, query = _trimmed(batch)
        video = batch["video"][:, : shown.shape[1]]
        found = self.model(video, shown, *query.inputs())
        labels = highlight_labels(batch["span"], batch["num_rows"], shown.shape[1])
        location = location_loss(found.start, found.end, batch["span"])
        highlight = highlight_loss(found.highlight, labels, shown)
        total = location + self.config.highlight_weight * highlight
        return {"loss": total, "location": location, "highlight": highlight}


def _trimmed(batch: Mapping[str, Tensor]) -> tuple[Tensor, QueryTokens]:
    """Return which rows are shown, and the queries, no longer than the longest of the batch."""

    def upto(name: str) -> int:
        return int(batch[f"host_{name}"].max())

    def shown(name: str) -> Tensor:
        places = torch.arange(upto(name), device=batch["video"].device)
        return places < batch[f"num_{name}"][:, None]

    words = shown("words")
    given = {
        name: batch[name][:, : words.shape[1]]
        for name in ("ids", "letters", "vectors")
        if name in batch
    }
    if "letters" in given:
        given["letters"] = given["letters"][:, :, : upto("letters")]
    return shown("rows"), QueryTokens(shown=words, **given)


def build(config: SpanConfig, parts: Parts) -> SpanTraining:
    """Build the task of a recipe; its model starts from `init`, its text encoder from `bert`."""
    parts.refuse("augmentation", "init_labels")
    text, words = _text_fields(parts)
    model = parts.build_model({} if text is None else {"text": text})
    if not parts.with_weights:
        return SpanTraining(model, config)
    if words is not None and isinstance(model.embedding_net, WordText):
        model.embedding_net.word_emb.glove_vec.data.copy_(words)
    if config.bert is not None:
        if not isinstance(model.embedding_net, BertText):
            raise CheckpointError(f"task.bert {config.bert}: the model has no BERT to start")
        load_bert(model.embedding_net.embedder, config.bert)
    if parts.init is not None:
        start = load_model(parts.init, architectures=parts.architectures).model
        if not isinstance(start, VSLNet):
            raise CheckpointError(f"{parts.init} is a {type(start).__name__}; init takes a VSLNet")
        load_weights(model, start.state_dict(), parts.init)
    return SpanTraining(model, config)


def _text_fields(parts: Parts) -> tuple[dict[str, Any] | None, Tensor | None]:
    """Return the section `model.text` with the words of the file that it names, and their vectors.

    The file is a `vocab.txt` of a BERT, or words, one a line, with or without vectors.
    """
    text: dict[str, Any] = dict(parts.model.get("text") or {})
    if not isinstance(text.get("vocabulary"), str):
        return None, None
    path = Path(text["vocabulary"])
    if text.get("kind", "BertText") == "BertText":
        pieces = read_vocabulary(path)
        bert = {**text.get("bert", {}), "vocab_size": len(pieces)}
        return {**text, "vocabulary": list(pieces), "bert": bert}, None
    found = read_words(path)
    told: dict[str, Any] = {
        "vocabulary": list(found.words),
        "letters": list(_LETTERS),
        "num_words": len(found.words) + SPECIAL_IDS,
        "num_letters": len(_LETTERS) + SPECIAL_IDS,
        "pretrained": found.vectors is not None,
    }
    if found.vectors is not None:
        told["word_width"] = found.vectors.shape[1]
    return {**text, **told}, found.vectors


def query_clips(
    task: SpanTraining,
    source: EvaluationSource,
    directory: Path,
    *,
    num_workers: int,
    fabric: Fabric,
) -> QuerySource:
    """Return the queries of a run; a text encoder that drops nothing out reads them only once."""
    del directory, num_workers
    model = task.model.to(fabric.device)
    text = model.config.text
    fixed = isinstance(text, BertTextConfig) and not (
        text.bert.drop_rate or text.bert.attention_drop_rate
    )
    return QuerySource(
        feature_source(source),
        model.config,
        QueryReader(model),
        skip_empty=task.config.skip_empty,
        keep_vectors=fixed,
    )
