"""The demonstration: one page that shows what a model sees, and how well, beside chance.

asking, report   what models say of unseen clips of the procedural world, and how often it is true
recognition      the classifier's part, and what its pretraining is worth
page, pictures   the HTML
run              from the clips to the page: `run_demo` writes `index.html` and `report.json`
"""
