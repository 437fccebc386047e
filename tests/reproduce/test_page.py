from html.parser import HTMLParser

from internvideo.reproduce.budget import find_budget
from internvideo.reproduce.claims import Claim, Comparison, Quantity, judge
from internvideo.reproduce.page import render
from internvideo.reproduce.report import ClaimsReport, Section

_VOID = {"meta", "br"}


class _Balanced(HTMLParser):
    def __init__(self):
        super().__init__()
        self.open, self.text = [], []

    def handle_starttag(self, tag, attrs):
        if tag not in _VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        pass

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text.append(data)


def _report():
    def claim(letter, better, worse):
        return Claim(
            letter=letter,
            statement=f"<{letter}> & so on.",
            tested="By this.",
            comparisons=(
                Comparison(
                    measure="accuracy",
                    better=(Quantity(title="ours", step=better),),
                    worse=(Quantity(title="theirs", step=worse),),
                ),
            ),
            beside=(("accuracy", Quantity(title="chance", value=3.6)),),
        )

    results = {
        f"seed-{seed}/{step}": {"numbers": {"accuracy": value + seed}}
        for seed in (1, 2)
        for step, value in (("high", 80.0), ("low", 20.0))
    }
    claims = (claim("a", "high", "low"), claim("b", "low", "high"), claim("c", "high", "none"))
    findings = tuple(judge(each, results, (1, 2)) for each in claims)
    return ClaimsReport(
        budget=find_budget("tiny"),
        sections=(
            Section(title="World", about="Shapes.", findings=findings),
            Section(title="People", about="Real ones.", findings=(), skipped="no such folder"),
        ),
        steps=(("seed-1/high", 3.0, 4.0),),
        machine="a machine",
        command="internvideo reproduce",
    )


def test_the_page_is_whole_and_says_all_verdicts():
    page = _Balanced()
    page.feed(render(_report()))
    assert page.open == []
    text = " ".join(page.text)
    for words in ("holds", "does not hold", "not measured", "<a> & so on.", "no such folder"):
        assert words in text
    assert "81.5 ± 0.7" in text
    assert "+60.0 (+60.0 to +60.0)" in text


def test_the_page_is_for_phones_and_for_the_night():
    page = render(_report())
    assert 'name="viewport"' in page
    assert "prefers-color-scheme: dark" in page
    assert "src=" not in page  # nothing is fetched


def test_the_numbers_are_plain_data():
    found = _report().to_dict()
    world, people = found["sections"]
    assert [each["verdict"] for each in world["claims"]] == [
        "holds",
        "does not hold",
        "not measured",
    ]
    assert world["claims"][0]["comparisons"][0]["differences"] == [60.0, 60.0]
    assert people["skipped"] == "no such folder"
    assert found["cpu_seconds"] == 3.0


def test_the_tables_are_markdown_too():
    lines = _report().to_markdown().splitlines()
    assert (
        "| a | accuracy | ours 81.5 ± 0.7 | theirs 21.5 ± 0.7 | +60.0 | +60.0 … +60.0 | holds |"
        in lines
    )
    assert "- (c) <c> & so on. **not measured**" in lines
    assert "Skipped: no such folder." in lines
