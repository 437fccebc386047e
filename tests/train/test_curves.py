from __future__ import annotations

from PIL import Image

from internvideo.train.curves import draw_curves


def test_every_number_gets_its_plot(tmp_path):
    records = [
        {"step": step, "loss": 1 / step, "lr": 0.1, "data_wait_ms": 3.0, "skipped": 0}
        for step in (1, 2, 3)
    ]
    path = draw_curves(records, tmp_path / "a.png")
    assert path == tmp_path / "a.png"
    two = Image.open(path).size
    measured = [{"step": 2, "val_top1": 10.0}, {"step": 3, "val_top1": 20.0}]
    four = [{**record, "memory_gib": 1.0, "skipped": 1} for record in records]
    five = Image.open(draw_curves(four + measured, tmp_path / "b.png")).size
    assert five[0] == two[0]
    assert five[1] == 2 * two[1], "five plots are two rows of three"


def test_without_records_there_is_no_picture(tmp_path):
    assert draw_curves([], tmp_path / "a.png") is None
    assert not (tmp_path / "a.png").exists()
