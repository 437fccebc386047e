"""An environment of three steps that says in which process it lives."""

from __future__ import annotations

import os
from typing import Any


class SmallEnvironment:
    def reset(self, *, options: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
        self.episode, self.walked = options["episode"], []
        if self.episode.scene_id == "nowhere":
            raise ValueError("unknown scene 'nowhere'")
        if self.episode.scene_id == "broken":
            os.abort()
        return {"process": os.getpid(), "episode": self.episode.episode_id}, {}

    def step(self, action: Any) -> tuple[dict[str, Any], float, bool, bool, dict[str, Any]]:
        self.walked.append(action)
        observation = {"process": os.getpid(), "episode": self.episode.episode_id}
        return observation, 0.0, len(self.walked) == 3, False, {"walked": list(self.walked)}
