"""Search in a library: a million vectors in LanceDB; faiss and Milvus Lite beside it; indexing.

Vectors are synthetic: unit vectors of 512 numbers around topics, twenty parts a video, in the rows
that `internvideo index` writes. "video" queries lie near a part; "text" queries lie apart from all
parts, as sentences do, with cosines around 0.3. Recall is of the ten best of an exact search.

`--quick` takes 20 000 vectors, `--part` one of the five parts. Where PySceneDetect is installed,
`shots` measures it too.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import multiprocessing
import os
import resource
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from harness import machine

from internvideo.search.records import Cut, Manifest, Part, VideoFile
from internvideo.search.store import Filter
from internvideo.video.preprocessing import PRESETS

DIMENSION = 512
TOPICS = 2000
BLOCK = 20_000
PER_VIDEO = 20
QUERIES = 200
THUMBNAIL_BYTES = 4096
TOP = 10
LOOKED_AT = 64  # rows that `Library.search` fetches for ten hits, to fold those that are alike
MANIFEST = Manifest(
    model="synthetic",
    weights="0" * 64,
    preprocessing=PRESETS["viclip-eval"],
    dimension=DIMENSION,
    cut=Cut(),
)


# ---------------------------------------------------------------- vectors


def unit(vectors: np.ndarray) -> np.ndarray:
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def noise(rng: np.random.Generator, count: int) -> np.ndarray:
    """Return random vectors with a length of about 1."""
    return rng.standard_normal((count, DIMENSION), dtype=np.float32) / DIMENSION**0.5


def block_of(number: int, size: int = BLOCK) -> np.ndarray:
    """Return the vectors of one block; the same number gives the same block."""
    topics = unit(noise(np.random.default_rng(0), TOPICS))
    rng = np.random.default_rng([1, number])
    videos = topics[rng.integers(0, TOPICS, size // PER_VIDEO)]
    videos = videos + 0.8 * noise(rng, size // PER_VIDEO)
    return unit(videos.repeat(PER_VIDEO, axis=0) + 0.5 * noise(rng, size))


def queries() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(2)
    topics = unit(noise(np.random.default_rng(0), TOPICS))
    near = block_of(0)[rng.integers(0, BLOCK, 2 * QUERIES)]
    gap = noise(rng, 1)
    text = 0.4 * topics[rng.integers(0, TOPICS, QUERIES)] + 0.3 * near[QUERIES:]
    return {
        "video": unit(near[:QUERIES] + 0.5 * noise(rng, QUERIES)),
        "text": unit(text + gap + 0.5 * noise(rng, QUERIES)),
    }


def exact(count: int) -> dict[str, np.ndarray]:
    """Return the numbers of the ten best vectors of each query."""
    found = {}
    for kind, asked in queries().items():
        scores, numbers = np.zeros((QUERIES, 0), np.float32), np.zeros((QUERIES, 0), np.int64)
        for number in range(count // BLOCK):
            cosines = asked @ block_of(number).T
            best = np.argpartition(-cosines, TOP, axis=1)[:, :TOP]
            scores = np.hstack([scores, np.take_along_axis(cosines, best, axis=1)])
            numbers = np.hstack([numbers, best + number * BLOCK])
        order = np.argsort(-scores, axis=1)[:, :TOP]
        found[kind] = np.take_along_axis(numbers, order, axis=1)
    return found


def rows_of(number: int) -> list[Part]:
    """Return the rows of one block; the first frame is the number of the vector."""
    rng = np.random.default_rng([3, number])
    parts = []
    for place, vector in enumerate(block_of(number)):
        video, part = divmod(place + number * BLOCK, PER_VIDEO)
        parts.append(
            Part(
                file=VideoFile(
                    path=f"/videos/{video % 500:03}/video {video:06}.mp4",
                    size=10_000_000 + video,
                    modified=1.7e9 + 600 * video,
                    digest=f"{video:032x}",
                ),
                number=part,
                num_parts=PER_VIDEO,
                start=4.0 * part,
                end=4.0 * (part + 1),
                first_frame=place + number * BLOCK,
                num_frames=100,
                fps=25.0,
                duration=80.0,
                height=720,
                width=1280,
                thumbnail=rng.bytes(THUMBNAIL_BYTES),
                vector=vector,
            )
        )
    return parts


# ---------------------------------------------------------------- measuring


def apart(work: Callable[..., Any], *arguments: Any) -> Any:
    """Return what a function returns in a fresh process."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(work, arguments)


def peak_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def size_mb(folder: Path) -> float:
    return sum(each.stat().st_size for each in folder.rglob("*") if each.is_file()) / 1e6


def ask(
    search: Callable[[np.ndarray], list[int]], truth: dict[str, np.ndarray], few: int = QUERIES
) -> dict[str, Any]:
    """Return recall and latency of a search, in time on the clock and of the processor."""
    found: dict[str, Any] = {}
    asked = queries()
    begin = time.perf_counter()
    search(asked["video"][0])
    found["first_ms"] = 1e3 * (time.perf_counter() - begin)
    for vector in asked["text"][: few // 10]:
        search(vector)
    for kind, vectors in asked.items():
        vectors = vectors[:few]
        times, hits, cpu = [], 0, time.process_time()
        for vector, right in zip(vectors, truth[kind], strict=False):
            begin = time.perf_counter()
            answer = search(vector)
            times.append(1e3 * (time.perf_counter() - begin))
            hits += len({*answer} & {*right.tolist()})
        found[kind] = {
            "recall": hits / (TOP * len(vectors)),
            "p50_ms": statistics.median(times),
            "p99_ms": float(np.quantile(times, 0.99)),
            "cpu_ms": 1e3 * (time.process_time() - cpu) / len(vectors),
        }
    return found


# ---------------------------------------------------------------- the contestants


def build_lance(uri: str, count: int) -> dict[str, float]:
    """Write the rows as the indexer does, and let the store index them."""
    from internvideo.search.lancedb_store import LanceStore

    store = LanceStore.create(uri, MANIFEST)
    written = 0.0
    for number in range(count // BLOCK):
        parts = rows_of(number)
        begin = time.perf_counter()
        store.add(parts)
        written += time.perf_counter() - begin
    rows = size_mb(Path(uri))
    begin, cpu = time.perf_counter(), time.process_time()
    store.compact()
    return {
        "write_s": written,
        "build_s": time.perf_counter() - begin,
        "build_cpu_s": time.process_time() - cpu,
        "rows_mb": rows,
        "vectors_mb": count * DIMENSION * 4 / 1e6,
        "disk_mb": size_mb(Path(uri)),
        "peak_mb": peak_mb(),
    }


def ask_lance(
    uri: str, truth: dict[str, np.ndarray], exactly: bool, probed: int | None = None
) -> dict[str, Any]:
    from internvideo.search import lancedb_store

    if probed is not None:
        lancedb_store._PROBED = probed

    store = lancedb_store.LanceStore.open(uri)
    assert store is not None
    if exactly:
        for index in store._table.list_indices():
            store._table.drop_index(index.name)

    def search(vector: np.ndarray) -> list[int]:
        found = store.search(vector, LOOKED_AT, Filter())
        return [each.part.first_frame for each in found[:TOP]]

    found = ask(search, truth, 20 if exactly else QUERIES)
    return {**found, "peak_mb": peak_mb(), "vectors": store.status().vector_index}


def run_faiss(count: int, truth: dict[str, np.ndarray], kind: str) -> dict[str, Any]:
    import faiss

    faiss.omp_set_num_threads(os.cpu_count() or 1)
    groups = int(count**0.5)
    inner = faiss.METRIC_INNER_PRODUCT
    index = faiss.index_factory(DIMENSION, kind.format(groups), inner)
    blocks = range(count // BLOCK)
    begin, cpu = time.perf_counter(), time.process_time()
    if not index.is_trained:
        index.train(np.concatenate([block_of(number)[::4] for number in blocks]))
    for number in blocks:
        index.add(block_of(number))
    built = {
        "build_s": time.perf_counter() - begin,
        "build_cpu_s": time.process_time() - cpu,
    }
    if "IVF" in kind:
        index.nprobe = max(40, groups // 20)

    def search(vector: np.ndarray) -> list[int]:
        return index.search(vector[None], TOP)[1][0].tolist()

    return {**built, **ask(search, truth), "peak_mb": peak_mb()}


def run_milvus(folder: str, count: int, truth: dict[str, np.ndarray]) -> dict[str, Any]:
    from internvideo.search.milvus_store import MilvusStore

    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    program = Path(sys.executable).with_name("milvus-lite")
    command = [program, "server", "--data-dir", folder, "--host", "127.0.0.1", "--port", str(port)]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as server:
        try:
            for _ in range(100):
                time.sleep(0.2)
                with socket.socket() as probe:
                    if not probe.connect_ex(("127.0.0.1", port)):
                        break
            store = MilvusStore.create(f"http://127.0.0.1:{port}", MANIFEST)
            begin = time.perf_counter()
            for number in range(count // BLOCK):
                store.add(rows_of(number))
            written = time.perf_counter() - begin

            def search(vector: np.ndarray) -> list[int]:
                found = store.search(vector, LOOKED_AT, Filter())
                return [each.part.first_frame for each in found[:TOP]]

            found = {"build_s": written, **ask(search, truth, 20)}
        finally:
            server.terminate()
    return {**found, "disk_mb": size_mb(Path(folder))}


# ---------------------------------------------------------------- the parts


def show(name: str, found: dict[str, Any]) -> None:
    print(json.dumps({"case": name, **found}), flush=True)


def many(count: int, folder: Path) -> None:
    """A library of many parts: with its index, and exactly."""
    uri, truth = str(folder / "many.lance"), exact(count)
    show(f"lancedb {count:,}: build", apart(build_lance, uri, count))
    show(f"lancedb {count:,}: search", apart(ask_lance, uri, truth, False))
    show(f"lancedb {count:,}: exact", apart(ask_lance, uri, truth, True))


def beside(count: int, folder: Path) -> None:
    """LanceDB beside faiss and Milvus Lite."""
    uri, truth = str(folder / "beside.lance"), exact(count)
    show(f"lancedb {count:,}: build", apart(build_lance, uri, count))
    show(f"lancedb {count:,}: search", apart(ask_lance, uri, truth, False))
    show(f"lancedb {count:,}: 50 groups", apart(ask_lance, uri, truth, False, 50))
    show(f"lancedb {count:,}: exact", apart(ask_lance, uri, truth, True))
    for kind in ("Flat", "IVF{},SQ8", "IVF{},Flat"):
        show(f"faiss {kind} {count:,}", apart(run_faiss, count, truth, kind))
    show(f"milvus-lite {count:,}", apart(run_milvus, str(folder / "milvus"), count, truth))


def throughput(minutes: float, folder: Path) -> None:
    """Index mp4 files: hours of video a core-hour, and where the time goes."""
    from internvideo import load
    from internvideo.errors import MissingExtraError
    from internvideo.search.cutting import decode_spans, spans_of
    from internvideo.search.embedding import embed_files
    from internvideo.search.files import look_at
    from internvideo.video import Video

    files = [look_at(str(path)) for path in write_films(folder, minutes)]
    seconds = sum(Video(file.path).duration for file in files)
    for name in ("viclip-nano", "offline-objects"):
        try:
            model = load(name, device="cpu").loaded
        except MissingExtraError as error:
            show(f"index 1280x720 h264, {name}", {"left_out": str(error)})
            continue
        for cut in (Cut(), Cut(kind="shots")):
            begin, cpu = time.perf_counter(), time.process_time()
            parts = sum(len(video.parts) for video in embed_files(model, files, cut))
            cpu, wall = time.process_time() - cpu, time.perf_counter() - begin
            stages: dict[str, float] = {}
            for file in files:
                with Video(file.path) as video:
                    start = time.process_time()
                    spans = spans_of(video, cut)
                    middle = time.process_time()
                    for _ in decode_spans(video, model.protocol, spans):
                        pass
                    end = time.process_time()
                for stage, spent in (("cut", middle - start), ("decode", end - middle)):
                    stages[stage] = stages.get(stage, 0.0) + spent
            stages["embed"] = max(cpu - sum(stages.values()), 0.0)
            show(
                f"index 1280x720 h264, {name}, {cut.kind}",
                {
                    "video_hours_per_core_hour": seconds / cpu,
                    "parts": parts,
                    "wall_s": wall,
                    "share": {name: round(spent / cpu, 3) for name, spent in stages.items()},
                },
            )


def write_films(folder: Path, minutes: float) -> Iterator[Path]:
    """Write mp4 files of 1280x720 at 25 frames a second, textured pictures that pan and cut."""
    from internvideo.video import write_video

    rng = np.random.default_rng(4)
    for number in range(2):

        def frames() -> Iterator[np.ndarray]:
            for _ in range(max(round(minutes * 60 / 2 / 5), 1)):
                coarse = rng.integers(0, 256, (30, 50, 3), np.uint8)
                picture = coarse.repeat(32, axis=0).repeat(32, axis=1)
                picture = picture // 2 + rng.integers(0, 40, picture.shape, np.uint8)
                for step in range(125):
                    yield picture[step : step + 720, 2 * step : 2 * step + 1280]

        yield write_video(folder / f"film{number}.mp4", frames(), fps=25, quality=23)


def shots(count: int, folder: Path) -> None:
    """Find the cuts of films that are joined from clips of the world, or from panned pictures."""
    from internvideo.search.shots import find_cuts
    from internvideo.video import Video

    films = {path: cuts for path, cuts in write_joined(folder, count)}

    def ours(path: Path) -> list[int]:
        with Video(path) as video:
            return find_cuts(video)

    contestants: dict[str, Callable[[Path], list[int]]] = {"ours": ours}
    if importlib.util.find_spec("scenedetect"):
        import scenedetect

        def peer(path: Path) -> list[int]:
            scenes = scenedetect.detect(str(path), scenedetect.AdaptiveDetector(min_scene_len=5))
            return [scene[0].frame_num for scene in scenes][1:]

        contestants[f"PySceneDetect {scenedetect.__version__}, adaptive"] = peer
    for name, find in contestants.items():
        right = wrong = total = 0
        cpu = time.process_time()
        for path, cuts in films.items():
            left = find(path)
            for cut in cuts:
                near = [each for each in left if abs(each - cut) <= 1]
                right += bool(near)
                left = [each for each in left if each not in near[:1]]
            wrong, total = wrong + len(left), total + len(cuts)
        spent = time.process_time() - cpu
        show(f"cuts, {name}", {"cuts": total, "found": right, "false": wrong, "cpu_s": spent})


def write_joined(folder: Path, count: int) -> Iterator[tuple[Path, list[int]]]:
    """Write films with known cuts: half of world clips, half of pictures that pan and flash."""
    from internvideo.video import write_video
    from internvideo.world import World

    world, rng = World(seed=11, size=128, num_frames=32), np.random.default_rng(5)
    for number in range(count):
        shots = []
        for shot in range(12):
            length = int(rng.integers(12, 33))
            if number % 2:
                shots.append(world[12 * number + shot].frames[:length])
                continue
            picture = rng.integers(0, 256, (20, 20, 3), np.uint8).repeat(32, axis=0)
            picture = picture.repeat(32, axis=1)
            speed = rng.integers(0, 6, 2)
            places = [speed * step for step in range(2 * length)]
            frames = [picture[y : y + 192, x : x + 256] for y, x in places]
            if shot % 3 == 0:
                frames[length] = np.full_like(frames[0], 255)
            shots.append(np.stack(frames))
        path = write_video(folder / f"{number}.mp4", np.concatenate(shots), fps=25)
        yield path, np.cumsum([len(shot) for shot in shots])[:-1].tolist()


def alike(count: int, folder: Path) -> None:
    """Fold world clips and their copies, written again as JPEG of quality 40."""
    import io

    import torch
    from PIL import Image

    from internvideo import load
    from internvideo.search.cutting import thumbnail
    from internvideo.search.hits import folded
    from internvideo.search.store import Found
    from internvideo.world import World

    def worse(frame: np.ndarray) -> np.ndarray:
        file = io.BytesIO()
        Image.fromarray(frame).save(file, "JPEG", quality=40)
        return np.asarray(Image.open(file))

    world = World(seed=77)
    clips = np.stack([world[number].frames for number in range(count)])
    copies = np.stack([[worse(frame) for frame in clip] for clip in clips])
    for name in ("viclip-nano", "mm-nano"):
        model = load(name, device="cpu")
        parts = []
        for kind, frames in (("clip", clips), ("copy", copies)):
            vectors = model.embed_video_batch(torch.from_numpy(frames), fps=8.0).numpy()
            for number, (clip, vector) in enumerate(zip(frames, vectors, strict=True)):
                part = rows_of_one(f"/{kind}/{number}.mp4", vector)
                parts.append(replace(part, thumbnail=thumbnail(torch.from_numpy(clip[8]))))
        pairs = [[Found(part, 1.0) for part in each] for each in zip(*halves(parts), strict=True)]
        folded_copies = sum(len(folded(pair, 2)) == 1 for pair in pairs)
        different = folded([Found(part, 1.0) for part in parts[:count]], count)
        found = {"copies": count, "folded": folded_copies}
        show(f"near-identical, {name}", {**found, "different_folded": count - len(different)})


def halves(parts: list[Part]) -> tuple[list[Part], list[Part]]:
    return parts[: len(parts) // 2], parts[len(parts) // 2 :]


def rows_of_one(path: str, vector: np.ndarray) -> Part:
    """Return the row of a clip of two seconds."""
    return Part(
        file=VideoFile(path=path),
        number=0,
        num_parts=1,
        start=0.0,
        end=2.0,
        first_frame=0,
        num_frames=16,
        fps=8.0,
        duration=2.0,
        height=64,
        width=64,
        vector=vector,
    )


PARTS = {
    "many": many,
    "beside": beside,
    "throughput": throughput,
    "shots": shots,
    "alike": alike,
}
SIZES = {
    "many": (1_000_000, 20_000),
    "beside": (100_000, 20_000),
    "throughput": (4.0, 0.5),
    "shots": (24, 4),
    "alike": (400, 40),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="fewer vectors and minutes")
    parser.add_argument("--part", choices=PARTS, action="append", help="only this; repeat it")
    arguments = parser.parse_args()
    print(machine(), flush=True)
    for name in arguments.part or PARTS:
        with tempfile.TemporaryDirectory() as folder:
            PARTS[name](SIZES[name][arguments.quick], Path(folder))


if __name__ == "__main__":
    main()
