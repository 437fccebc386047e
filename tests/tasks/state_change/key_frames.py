"""Pictures with one bright square each, and the list of COCO that says where it is."""

from __future__ import annotations

import json

import numpy as np
from PIL import Image

SIZE = (96, 64)  # width, height


def write_pictures(folder, count=6, *, name="val.json", seed=0):
    """Write pictures and their list; the last picture shows nothing. Return the list."""
    rng = np.random.default_rng(seed)
    (folder / "frames").mkdir(parents=True, exist_ok=True)
    images, annotations = [], []
    for number in range(1, count + 1):
        pixels = rng.integers(0, 60, (SIZE[1], SIZE[0], 3), dtype=np.uint8)
        if number < count:
            x, y, side = (
                int(rng.integers(low, high)) for low, high in ((4, 60), (4, 30), (16, 30))
            )
            pixels[y : y + side, x : x + side] = (240, 200, 40)
            annotations.append(
                {"id": number, "image_id": number, "category_id": 1, "bbox": [x, y, side, side]}
            )
        file = f"{name.split('.')[0]}_{number}.png"
        Image.fromarray(pixels).save(folder / "frames" / file)
        images.append({"id": number, "file_name": file, "width": SIZE[0], "height": SIZE[1]})
    content = {
        "images": images,
        "annotations": annotations,
        "categories": [{"id": 1, "name": "object_of_change"}],
    }
    path = folder / name
    path.write_text(json.dumps(content))
    return path
