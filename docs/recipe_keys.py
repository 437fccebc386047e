"""Makes docs/recipe-keys.md, the table of all keys of a recipe, of the classes that check them."""

from __future__ import annotations

from pathlib import Path

from internvideo.recipe.reference import Section, sections

HEAD = """# The keys of a recipe

Every key that a [recipe](training.md) may hold, with what it takes and its default. `internvideo
recipes show NAME` prints those of one recipe, with their values and where each value comes from;
`KEY=VALUE` behind `internvideo train NAME` replaces one. A key that is not here is refused.

This page is made by `python docs/recipe_keys.py` of the classes that check the keys.
"""


def page() -> str:
    """Return the page in Markdown."""
    return "\n".join([HEAD, *map(table, sections())])


def table(section: Section) -> str:
    """Return the heading and the table of a group of keys."""
    rows = [f"## {section.place}\n", f"{section.description}\n"]
    rows += ["| key | takes | default | |", "|---|---|---|---|"]
    for key in section.keys:
        default = key.default if key.default in ("", "needed") else f"`{key.default}`"
        cells = (f"`{key.name}`", key.type, default, key.description)
        rows.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    return "\n".join([*rows, ""])


if __name__ == "__main__":
    (Path(__file__).parent / "recipe-keys.md").write_text(page())
