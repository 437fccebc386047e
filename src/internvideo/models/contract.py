"""What a model can do: declared by its class, never guessed from the names of its attributes.

    capability   what the model has
    ──────────   ──────────────────────────────────────────────────────────────────────────────
    features     `forward_features(video) -> VideoFeatures`, `intermediates(video, layers)`
    embed        `embed(video)`: a vector of unit length for each clip, float32
    text         `DualEncoder`: two towers that meet in one joint space
    classes      `Classifier`: `forward(video)` gives logits over `config.num_classes` named classes
    captions     `Captioner`: writes a sentence about each clip
    match        `Matcher`: two towers, and a closer look at a clip beside a text
    moments      `MomentDetector`: finds classes in time, in features of an untrimmed video
    video-moments  likewise in its frames; `config.num_classes` classes
    answers      `QuestionReader`: `forward(video, question)` gives logits over named answers
    boxes        `BoxDetector`: `forward(video, boxes)` gives logits of what is done in each box
    contacts     `ContactAnticipator`: `forward(video, boxes)` gives logits of verbs and seconds
    unknown      `OpenSetModel`: tells whether a video shows none of its classes
    objects      finds objects in pictures: `DINO`; `config.num_classes` classes
    navigation   a part of an agent that follows instructions: `NavigationPolicy`, its senses
    spans        finds the part that a sentence asks for, in such features: `VSLNet`

Ask `has(model, "captions")`. Every model of the zoo that sees video is a `VideoEncoder` and has the
first two; all have `reset_parameters()`, `reset_buffers()`, `block_modules()` and
`example_inputs()`. One set of tests runs over them all.

Shapes: b batch, c channels, (t, y, x) frames, rows and columns of the clip; n tokens, d width,
(t, h, w) the grid of tokens in time, rows and columns; e joint dimension, l text length, k classes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, Protocol, overload

import torch
import torch.nn.functional as F
from einops import rearrange
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from internvideo.models.tokenizer import Tokenizer

if TYPE_CHECKING:
    from typing_extensions import TypeIs

    from internvideo.models.actionformer import Candidates
    from internvideo.models.caption_writer import CaptionStrategy

__all__ = [
    "BoxDetector",
    "Capability",
    "Captioner",
    "Classifier",
    "DualEncoder",
    "Judgement",
    "Matcher",
    "MomentDetector",
    "OpenSetModel",
    "QuestionReader",
    "TextTokens",
    "VideoEncoder",
    "VideoFeatures",
    "has",
    "num_classes_of",
]

Capability = Literal[
    "features",
    "embed",
    "text",
    "classes",
    "captions",
    "match",
    "answers",
    "moments",
    "video-moments",
    "boxes",
    "navigation",
    "contacts",
    "objects",
    "spans",
    "unknown",
]

_NUM_CHANNELS = 3


@dataclass(frozen=True, slots=True)
class VideoFeatures:
    """Tokens of a batch of clips.

    Attributes:
        tokens: "b n d", ordered by time, then row, then column; with a mask only the visible ones.
        grid: tokens in time, rows and columns of the *whole* clip.
        cls: "b d" the class token, where the encoder has one.
        hidden: tokens after the layers that were asked for, in the order of asking.
        frame_cls: "b t d" the class token of each time step, where the encoder has one.
    """

    tokens: Float[Tensor, "b n d"]
    grid: tuple[int, int, int]
    cls: Float[Tensor, "b d"] | None = None
    hidden: tuple[Float[Tensor, "b n d"], ...] = ()
    frame_cls: Float[Tensor, "b t d"] | None = None

    def pool(self, kind: Literal["mean", "max", "mean+max"] = "mean") -> Float[Tensor, "b d"]:
        """Return one vector a clip: the mean or the maximum over the tokens, or their sum.

        Raises:
            ValueError: `kind` is none of "mean", "max", "mean+max".
        """
        match kind:
            case "mean":
                return self.tokens.mean(dim=1)
            case "max":
                return self.tokens.amax(dim=1)
            case "mean+max":
                return self.tokens.mean(dim=1) + self.tokens.amax(dim=1)
        raise ValueError(f"pool kind {kind!r} is not one of 'mean', 'max', 'mean+max'")

    def volume(self) -> Float[Tensor, "b t h w d"]:
        """Return the tokens at their places in the clip.

        Raises:
            ValueError: tokens are missing, because the clip was encoded with a mask.
        """
        t, h, w = self.grid
        if self.tokens.shape[1] != t * h * w:
            raise ValueError(
                f"{self.tokens.shape[1]} tokens do not fill the grid {t}x{h}x{w}: "
                "encode the clip without a mask to get a volume"
            )
        return rearrange(self.tokens, "b (t h w) d -> b t h w d", t=t, h=h, w=w)

    def per_step(self) -> Float[Tensor, "b t d"]:
        """Return one vector a time step: the mean over its rows and columns."""
        return torch.flatten(self.volume(), 2, 3).mean(dim=2)


class VideoEncoder:
    """What follows from `forward_features`.

    Attributes:
        capabilities: what the model can do. The class says it; a model that was built without one
            of its parts has fewer.
        config: the shape of the model.
    """

    capabilities: frozenset[Capability]
    config: Any
    forward_features: Any

    def reset_buffers(self) -> None:
        """Make the tables that are no part of the state, after building on the meta device."""

    def intermediates(
        self, video: Float[Tensor, "b c t y x"], layers: Sequence[int]
    ) -> tuple[Float[Tensor, "b n d"], ...]:
        """Return the patch tokens after each of the given blocks, without the final norm.

        Args:
            video: normalised pixels.
            layers: numbers of blocks of the encoder; negative ones count from the end.

        Raises:
            IndexError: a block that there is not.
        """
        return self.forward_features(video, layers=layers).hidden

    def embed(self, video: Float[Tensor, "b c t y x"]) -> Float[Tensor, "b d"]:
        """Return `pooled` scaled to unit length, in float32."""
        return unit(self.pooled(video))

    def pooled(self, video: Float[Tensor, "b c t y x"]) -> Float[Tensor, "b d"]:
        """Return one vector for each normalised clip.

        It is the input of the head where the model has one, else the class token, or the mean of
        the tokens.
        """
        features = self.forward_features(video)
        return features.pool("mean") if features.cls is None else features.cls

    def example_inputs(self, batch: int = 2) -> tuple[Any, ...]:
        """Return random arguments of `forward`, of the shapes that the model is made for.

        For export, profiling and tests: `torch.export.export(model, model.example_inputs())`.
        """
        side = self.config.image_size
        return (torch.randn(batch, _NUM_CHANNELS, self.config.num_frames, side, side),)


class DualEncoder(Protocol):
    """Two towers that meet in one joint space: `ViCLIP`, `InternVideoMM`, `UMTMultimodal`.

    Zero-shot classification, multiple choice, retrieval and contrast need no more than this.

    Attributes:
        tokenizer: turns texts into the ids that `encode_text` takes.
    """

    tokenizer: Tokenizer

    def encode_video(
        self, video: Float[Tensor, "b c t y x"], *, normalize: bool = True
    ) -> Float[Tensor, "b e"]:
        """Embed normalised clips; `normalize` scales to unit length, in float32."""
        ...

    def encode_text(
        self, ids: Int[Tensor, "b l"], *, normalize: bool = True
    ) -> Float[Tensor, "b e"]:
        """Embed tokenized texts; `normalize` scales to unit length, in float32."""
        ...

    def temperature(self) -> Float[Tensor, ""]:
        """Return what cosines are divided by before a softmax over them."""
        ...


@dataclass(frozen=True, slots=True)
class TextTokens:
    """A batch of texts that were read without a video.

    Attributes:
        tokens: "b l w".
        shown: "b l", False at padding.
    """

    tokens: Float[Tensor, "b l w"]
    shown: Bool[Tensor, "b l"]

    def take(self, index: Int[Tensor, "k"] | slice) -> TextTokens:
        """Return some of the texts."""
        return TextTokens(self.tokens[index], self.shown[index])


class Matcher(DualEncoder, Protocol):
    """A dual encoder that also looks at clips and texts together: `UMTMultimodal`.

    The product of `encode_text` with `encode_video(…, normalize=False)` chooses the pairs that are
    worth it; there, that is the published similarity.

    Attributes:
        matches_all: that product was not trained to choose, so every pair is worth it.
    """

    matches_all: bool

    def forward_features(self, video: Float[Tensor, "b c t y x"]) -> VideoFeatures:
        """Encode normalised clips; their tokens are what texts are matched with."""
        ...

    def read(self, ids: Int[Tensor, "b l"]) -> TextTokens:
        """Read tokenized texts, once for all clips that they are matched with."""
        ...

    def match_logits(self, video: Float[Tensor, "b n d"], text: TextTokens) -> Float[Tensor, "b 2"]:
        """Return the logits of "not its text" and "its text" of pairs, row by row."""
        ...


class Classifier(Protocol):
    """A model with classes of its own; call it with normalised clips to get their logits.

    Attributes:
        config: says `num_classes`.
    """

    config: Any

    @property
    def head(self) -> nn.Linear:
        """The linear layer whose outputs are the classes."""
        ...

    def __call__(self, video: Float[Tensor, "b c t y x"]) -> Float[Tensor, "b k"]:
        """Return the logits."""
        ...


@dataclass(frozen=True, slots=True)
class Judgement:
    """What a classifier makes of a video, and how unsure it is.

    Attributes:
        probabilities: "k", of its classes; the rest to 1, if any, is that of none of them.
        uncertainty: higher is more unknown; its scale is that of the score.
    """

    probabilities: Float[Tensor, " k"]
    uncertainty: float

    @classmethod
    def of(cls, probabilities: Float[Tensor, " k"], uncertainty: Float[Tensor, ""]) -> Judgement:
        """Build a judgement from tensors anywhere."""
        return cls(probabilities.detach().cpu(), float(uncertainty.detach()))

    @classmethod
    def of_logits(cls, logits: Float[Tensor, " k"], *, by_entropy: bool = False) -> Judgement:
        """Return what any classifier can say: 1 - its highest probability, or their entropy."""
        shares = logits.softmax(dim=0)
        doubt = -torch.xlogy(shares, shares).sum() if by_entropy else 1 - shares.max()
        return cls.of(shares, doubt)


class OpenSetModel(Classifier, Protocol):
    """A classifier that tells whether a video shows none of its classes: `OpenSetClassifier`."""

    @property
    def threshold(self) -> float | None:
        """Uncertainty above which a video is unknown; None where no training videos told it."""
        ...

    def pooled(self, video: Float[Tensor, "b c t y x"]) -> Float[Tensor, "b d"]:
        """Return what `judge` looks at, of each normalised clip."""
        ...

    def judge(self, features: Float[Tensor, "v d"]) -> Judgement:
        """Return what a video is, from the pooled features of its views."""
        ...


class Captioner(Protocol):
    """A model that writes; see `InternVideoMM.caption` for the options."""

    def caption(
        self,
        video: Float[Tensor, "b c t y x"],
        *,
        strategy: CaptionStrategy = "greedy",
        num_beams: int = 4,
        length_penalty: float = 0.0,
        top_p: float = 0.9,
        temperature: float = 1.0,
        max_length: int | None = None,
        generator: torch.Generator | None = None,
    ) -> list[str]:
        """Return one sentence for each normalised clip."""
        ...


class MomentDetector(Protocol):
    """A detector over time with classes of its own: `ActionFormer`.

    Attributes:
        config: says `num_classes`, `input_dims` and `strides`.
    """

    config: Any

    def __call__(
        self, features: Float[Tensor, "b t c"], valid: Bool[Tensor, "b t"] | None = None
    ) -> Candidates:
        """Return scores and boundaries of every position, for the features of whole videos."""
        ...


class BoxDetector(Protocol):
    """A model that tells what is done in boxes: `ActionDetector`.

    Attributes:
        config: says `num_classes` and `patch_size`.
    """

    config: Any

    def __call__(
        self, video: Float[Tensor, "b c t y x"], rois: Float[Tensor, "n 5"]
    ) -> Float[Tensor, "n k"]:
        """Return the logits of each box: number of its clip, then its sides in pixels."""
        ...


class QuestionReader(Protocol):
    """A model that chooses the answer to a question about a clip among those that it knows.

    Attributes:
        config: says `num_classes`, the number of answers.
        tokenizer: counts the tokens of a question.
    """

    config: Any
    tokenizer: Tokenizer

    def tokenize(self, questions: Sequence[str]) -> Int[Tensor, "q l"]:
        """Return the ids of questions."""
        ...

    def forward_features(self, video: Float[Tensor, "b c t y x"]) -> VideoFeatures:
        """Encode normalised clips."""
        ...

    def answer(
        self,
        features: VideoFeatures,
        ids: Int[Tensor, "q l"],
        *,
        rows: Int[Tensor, "q"] | None = None,
    ) -> Float[Tensor, "q k"]:
        """Return the logits of the answers; question i is about clip `rows[i]`."""
        ...


@overload
def has(model: object, capability: Literal["features", "embed"]) -> TypeIs[VideoEncoder]: ...
@overload
def has(model: object, capability: Literal["text"]) -> TypeIs[DualEncoder]: ...
@overload
def has(model: object, capability: Literal["classes"]) -> TypeIs[Classifier]: ...
@overload
def has(model: object, capability: Literal["unknown"]) -> TypeIs[OpenSetModel]: ...
@overload
def has(model: object, capability: Literal["captions"]) -> TypeIs[Captioner]: ...
@overload
def has(model: object, capability: Literal["match"]) -> TypeIs[Matcher]: ...
@overload
def has(model: object, capability: Literal["moments"]) -> TypeIs[MomentDetector]: ...
@overload
def has(model: object, capability: Literal["answers"]) -> TypeIs[QuestionReader]: ...
@overload
def has(model: object, capability: Literal["boxes"]) -> TypeIs[BoxDetector]: ...
@overload
def has(model: object, capability: Literal["spans", "objects", "contacts"]) -> bool: ...
def has(model: object, capability: Capability) -> bool:
    """Tell whether a model declares a capability; one that declares nothing has none."""
    return capability in getattr(model, "capabilities", ())


def num_classes_of(model: object) -> int | None:
    """Return how many classes of its own a model has; None where it has none."""
    declared: frozenset[str] = getattr(model, "capabilities", frozenset())
    named = declared & {"classes", "moments", "video-moments", "boxes", "objects"}
    if "contacts" in declared:
        return model.config.num_verbs  # type: ignore[attr-defined]
    return model.config.num_classes if named else None  # type: ignore[attr-defined]


def unit(vectors: Float[Tensor, "b d"]) -> Float[Tensor, "b d"]:
    """Scale vectors to unit length, in float32 whatever they are in."""
    return F.normalize(vectors.float(), dim=-1)
