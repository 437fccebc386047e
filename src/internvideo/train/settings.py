"""What may change when a run goes on: where its data lie and, if asked for, how long it is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

from internvideo.data.identity import difference
from internvideo.errors import ConfigError
from internvideo.train.config import OptimConfig, RuntimeConfig, ScheduleConfig

__all__ = ["RunSettings", "flat", "way_on"]

_PLACES = frozenset({"annotations", "root", "labels", "videos", "shards", "cache", "folders"})
_LENGTH = frozenset({"schedule.epochs", "schedule.steps"})
_SECTIONS = ("evaluation.data", "data")


@dataclass(frozen=True, kw_only=True)
class RunSettings:
    """What a run is, as plain nested values; a checkpoint has it to compare with.

    Attributes:
        values: the settings; those that may always change (machine, bookkeeping) are no part of it.
        clips: `data.identity.clip_identity` of the sections "data" and "evaluation.data".
    """

    values: Mapping[str, Any] = field(default_factory=dict[str, Any])
    clips: Mapping[str, Any] = field(default_factory=dict[str, Any])

    def check(self, before: RunSettings, directory: Path, *, extend: bool) -> list[str]:
        """Compare with the settings of the run that is to go on; return what to tell its owner.

        Data may lie elsewhere, as long as they are the same clips; so may the start.

        Args:
            before: from the checkpoint.
            directory: of the run, for messages.
            extend: whether the length may change.

        Raises:
            ConfigError: names every key that differs, with both values, and the way to go on.
        """
        new, old = flat(self.values), flat(before.values)
        changed = [key for key in sorted(old.keys() | new.keys()) if old.get(key) != new.get(key)]
        moved = {
            section: [key for key in changed if _is_place(key, section)] for section in _SECTIONS
        }
        others = {
            section: difference(before.clips.get(section), self.clips.get(section))
            for section in _SECTIONS
        }
        allowed = {
            key for section in _SECTIONS if others[section] is None for key in moved[section]
        }
        if extend:
            allowed |= _LENGTH
        if "init" in changed and _file_name(old.get("init")) == _file_name(new.get("init")):
            allowed.add("init")  # which was read at the start only
        refused = [key for key in changed if key not in allowed]
        if refused:
            why = [f"{s}: {others[s]}" for s in _SECTIONS if moved[s] and others[s] is not None]
            ways = ["--extend goes on to another length"] if set(refused) <= _LENGTH else []
            if why:
                ways.append("data that were only moved go on; put them back (a link will do)")
            elif not ways:
                ways.append("undo the change to go on")
            raise ConfigError(
                f"{directory} holds a run with other settings: {_shown(refused, old, new)}"
                f"{'; ' if why else ''}{'; '.join(why)}; {'; '.join(ways)}, or {way_on(directory)}"
            )
        return [
            f"the data have moved and are the same clips: {_shown(keys, old, new)}"
            for keys in moved.values()
            if keys
        ] + [
            f"{section} has changed since the run began ({others[section]}); it goes on with it"
            for section in _SECTIONS
            if not moved[section] and before.clips.get(section) and others[section]
        ]


def _file_name(path: object) -> str:
    return str(path).rstrip("/").rpartition("/")[2]


def way_on(directory: Path) -> str:
    """Return the advice that always keeps what a run has learnt."""
    return f"start another run from its weights: another --out with init={directory}"


def _is_place(key: str, section: str) -> bool:
    return key.startswith(f"{section}.") and key.rpartition(".")[2] in _PLACES


def _shown(keys: list[str], old: Mapping[str, Any], new: Mapping[str, Any]) -> str:
    defaults = flat(
        {
            "optim": OptimConfig().model_dump(mode="json"),
            "schedule": ScheduleConfig().model_dump(mode="json"),
            "runtime": RuntimeConfig().model_dump(mode="json"),
        }
    )

    def value(settings: Mapping[str, Any], key: str) -> str:
        known = settings if key in settings else defaults
        return repr(known[key]) if key in known else "left out"

    return "; ".join(f"{key} was {value(old, key)}, is {value(new, key)}" for key in keys)


def flat(tree: Any, prefix: str = "") -> dict[str, Any]:
    """Return the leaves of nested mappings, and lists of mappings, by their path."""
    leaves: dict[str, Any] = {}
    for key, value in tree.items():
        listed = cast("list[Any]", value if isinstance(value, list) else [])
        if listed and all(isinstance(each, Mapping) for each in listed):
            value = {str(number): each for number, each in enumerate(listed)}
        if isinstance(value, Mapping):
            leaves |= flat(cast("Mapping[str, Any]", value), f"{prefix}{key}.")
        else:
            leaves[f"{prefix}{key}"] = value
    return leaves
