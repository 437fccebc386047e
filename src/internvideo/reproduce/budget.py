"""How much is spent on the study: seeds, clips, passes, and the size of the networks."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from internvideo.errors import UnknownNameError, did_you_mean

__all__ = ["BUDGETS", "Budget", "find_budget"]


@dataclass(frozen=True, kw_only=True)
class Budget:
    """The numbers of a study; counts are per seed.

    Attributes:
        name: of the budget.
        seeds: each has its own worlds, initial weights and orders; claims are about their mean.
        clips: that the encoders are pretrained on.
        masked_epochs: passes of masked pretraining over them.
        contrast_epochs: passes of contrastive pretraining.
        labels: labelled clips of the union of the label sets, 28 actions.
        label_epochs: passes over them.
        target_labels: labelled clips of the target data set, half of the actions.
        target_epochs: passes over them.
        probe_clips: that linear probes are fitted on.
        test: clips that nothing is trained on.
        people_videos: real videos, two thirds of which are trained on.
        people_windows_epochs: passes of masked pretraining over the windows of these.
        people_epochs: passes over the labelled segments of these.
        width: of the encoders.
        depth: of the encoders.
        channels: of their stem.
        text_width: of the text tower.
    """

    name: str
    seeds: tuple[int, ...]
    clips: int
    masked_epochs: int
    contrast_epochs: int
    labels: int
    label_epochs: int
    target_labels: int
    target_epochs: int
    probe_clips: int
    test: int
    people_videos: int
    people_windows_epochs: int
    people_epochs: int
    width: int = 128
    depth: int = 4
    channels: tuple[int, int, int] = (16, 32, 32)
    text_width: int = 128

    def to_dict(self) -> dict[str, Any]:
        """Return plain data."""
        return asdict(self)


BUDGETS = {
    each.name: each
    for each in (
        Budget(
            name="small",
            seeds=(1, 2, 3),
            clips=5_000,
            masked_epochs=5,
            contrast_epochs=3,
            labels=1_000,
            label_epochs=6,
            target_labels=300,
            target_epochs=12,
            probe_clips=1_500,
            test=1_000,
            people_videos=21,
            people_windows_epochs=2,
            people_epochs=20,
        ),
        Budget(
            name="tiny",
            seeds=(1, 2),
            clips=96,
            masked_epochs=1,
            contrast_epochs=1,
            labels=64,
            label_epochs=2,
            target_labels=32,
            target_epochs=1,
            probe_clips=96,
            test=64,
            people_videos=3,
            people_windows_epochs=1,
            people_epochs=1,
            width=16,
            depth=2,
            channels=(4, 4, 4),
            text_width=16,
        ),
    )
}
"""By name; "tiny" is a smoke run of seconds, whose numbers mean nothing."""


def find_budget(name: str) -> Budget:
    """Return a budget by its name.

    Raises:
        UnknownNameError: there is none.
    """
    if name not in BUDGETS:
        raise UnknownNameError(
            f"no budget {name!r}; one of: {', '.join(BUDGETS)}.{did_you_mean(name, BUDGETS)}"
        )
    return BUDGETS[name]
