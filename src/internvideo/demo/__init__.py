"""The demonstration: one page that shows what a model sees, and how well, beside chance.

`world_report.world_report` measures a two-tower model on unseen clips of the procedural world;
`run.run_demo` does that, classifies the user's own videos, and writes `index.html` and
`report.json`.
"""
