"""Makes docs/datasets.md, the table of the paper's data sets, of docs/datasets.yaml."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

HERE = Path(__file__).parent
HEAD = """# The data sets of the paper

The paper ([arXiv 2212.03191](https://arxiv.org/abs/2212.03191)) reports results on 39 data sets
and tracks, and one more in its text. Each row says which [reader](data.md) takes the files as
they were published, what is measured, and which recipe trains for it; below stands the command
that measures it here. The figures are the paper's for InternVideo, in per cent, but for the
metres of navigation: **theirs, not measured here**, and mostly of an ensemble. The reader and the
metric of each row are tested on a small set that the [world](world.md) writes in the same format.

This page is made by `python docs/datasets.py` of `docs/datasets.yaml`.
"""


def command(verb: str, arguments: str) -> str:
    """Return a command line that measures something."""
    return f"internvideo evaluate {verb} {arguments}"


def page(groups: list[dict[str, Any]]) -> str:
    """Return the page in Markdown."""
    lines = [HEAD]
    for group in groups:
        lines += [
            f"## {group['task']}\n",
            f"| data set | reader | {group['metric']}, published | recipe |",
            "|---|---|---|---|",
        ]
        lines += [
            f"| {row['name']} | `{row['reader'].replace(', ', '`, `')}` | {row['published']} | "
            + (f"`{row['recipe']}` |" if row["recipe"] else "none yet |")
            for row in group["rows"]
        ]
        commands = dict.fromkeys(
            command(group["verb"], row["evaluate"]) for row in group["rows"] if row["evaluate"]
        )
        lines += ["\n```sh", *commands, "```\n"]
    return "\n".join(lines)


def read_groups() -> list[dict[str, Any]]:
    """Return the rows, grouped by what is measured."""
    return yaml.safe_load((HERE / "datasets.yaml").read_text())


if __name__ == "__main__":
    (HERE / "datasets.md").write_text(page(read_groups()))
