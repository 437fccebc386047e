"""The claims of the paper, put to the test at the scale of a laptop: `internvideo reproduce`.

    budget ──► plan: steps of each seed ──► processes, one a core ──► results ──► claims ──► page

Every training is a recipe of the library with other numbers, made by the one training loop; every
step has a folder with its result. The study can be stopped at any time, by whatever means, and the
same call goes on to the same numbers.
"""

from __future__ import annotations

from internvideo.reproduce.budget import BUDGETS, Budget
from internvideo.reproduce.report import ClaimsReport
from internvideo.reproduce.study import reproduce

__all__ = ["BUDGETS", "Budget", "ClaimsReport", "reproduce"]
