"""Puts the demo under load: many visitors at once, through the real server.

    python benchmarks/reliability/load.py --clients 50 --minutes 3

Starts the demo on a free port of this machine, and visitors who open the page, compare examples and
uploads with masks, move sliders, take downloads and call endpoints, each one request after the
other. Prints how many requests there were, how long they took, what failed, how the memory of the
server went, and which files were left when the visitors had gone. A polite "queue is full" is no
failure. Ends with 1 if anything failed or was left. Needs the extras `demo` and `bench`.
"""

from __future__ import annotations

import argparse
import asyncio
import io
import json
import os
import random
import socket
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import psutil
from visitor import Failed, QueueFull, Visitor

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from kerasunet.data.simulation import simulate  # noqa: E402

_MEGA = 1e6
_MINUTE, _HALF_MINUTE = 60.0, 30.0
_PATIENCE = 240
_EXAMPLES = 6
_UPLOADS, _SIDE = 8, 512


@dataclass
class Record:
    """What was seen.

    Attributes:
        seconds: By kind of request, how long each answer took.
        full: How many were told that the queue is full.
        failures: What went wrong, in words.
        memory: Seconds since the start, and megabytes of the server.
    """

    seconds: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    full: int = 0
    failures: list[str] = field(default_factory=list)
    memory: list[tuple[float, float]] = field(default_factory=list)


class Materials:
    """What visitors upload: PNG files of ultrasound with their masks, and a DICOM X-ray."""

    def __init__(self) -> None:
        made = [simulate("breast-ultrasound", 7, index, size=_SIDE) for index in range(_UPLOADS)]
        self.scans = [_png(sample.image.astype(np.uint8)) for sample in made]
        self.masks = [_png(sample.mask.astype(np.uint8) * 255) for sample in made]
        self.dicom = _dicom(simulate("chest-xray", 7, 0, size=_SIDE).image)


class Crowd:
    """Visitors who go on until an end.

    Args:
        url: Address of the demo.
        config: What its page is made of.
        record: Takes what is seen.
    """

    def __init__(self, url: str, config: dict[str, Any], record: Record) -> None:
        self._url, self._config, self._record = url, config, record
        self._materials = Materials()
        self._models = [m for m in _models(config) if m != "natural"] or ["natural"]

    async def warm(self) -> None:
        """Wait until every model has answered once."""
        async with Visitor(self._url, self._config) as visitor:
            for index in (0, _EXAMPLES - 1):
                await visitor.happen("compare-examples", "pick", {"index": index})

    async def visit(self, number: int, end: float) -> None:
        """One visitor after the other at one seat, each with a session of their own."""
        chance = random.Random(number)
        await asyncio.sleep(chance.uniform(0, 2))
        while time.monotonic() < end:
            async with Visitor(self._url, self._config) as visitor:
                await self._stay(visitor, chance, end)

    async def _stay(self, visitor: Visitor, chance: random.Random, end: float) -> None:
        await self._try("open the page", visitor.open_page())
        acts = [self._example, self._upload, self._upload, self._segment, self._simulate]
        for act in chance.sample(acts, len(acts)):
            if time.monotonic() < end:
                await act(visitor, chance)
            await asyncio.sleep(chance.uniform(0, 0.5))

    async def _example(self, visitor: Visitor, chance: random.Random) -> None:
        picked = visitor.happen("compare-examples", "pick", {"index": chance.randrange(_EXAMPLES)})
        if await self._compared("compare an example", visitor, picked):
            await self._move_sliders(visitor, chance)

    async def _upload(self, visitor: Visitor, chance: random.Random) -> None:
        which = chance.randrange(_UPLOADS)
        image = await self._try(
            "upload a file", visitor.upload("scan.png", self._materials.scans[which])
        )
        visitor.put("compare-image", image)
        given = visitor.happen("compare-image", "upload") if image else None
        if given and await self._compared("compare an upload", visitor, given):
            await self._move_sliders(visitor, chance)
            await self._give_mask(visitor, which)
            await self._take_all(visitor)

    async def _compared(self, kind: str, visitor: Visitor, doing: Any) -> bool:
        """Whether there is a comparison; the page tells in words why there is none."""
        if not await self._try(kind, doing):
            return False
        if "alert" in (told := visitor.value("compare-note") or ""):
            self._record.failures.append(f"{kind}: {told}")
        return "alert" not in told

    async def _give_mask(self, visitor: Visitor, which: int) -> None:
        sent = visitor.upload("scan_mask.png", self._materials.masks[which])
        mask = await self._try("upload a file", sent)
        visitor.put("compare-truth", mask)
        if mask:
            await self._try("measure with a mask", visitor.happen("compare-truth", "upload"))

    async def _move_sliders(self, visitor: Visitor, chance: random.Random) -> None:
        for _ in range(3):
            visitor.put("Threshold", round(chance.uniform(0.2, 0.8), 2))
            await self._try("move a slider", visitor.happen("Threshold", "input"))

    async def _take_all(self, visitor: Visitor) -> None:
        made = await self._try("write a zip", visitor.happen("download-zip", "click"))
        if made:
            taken = await self._try("download a zip", visitor.download(made[0]))
            if taken is not None and not taken.startswith(b"PK"):
                self._record.failures.append("download a zip: it is none")

    async def _segment(self, visitor: Visitor, chance: random.Random) -> None:
        file = await self._try("upload a file", visitor.upload("chest.dcm", self._materials.dicom))
        if file:
            asked = visitor.call("segment", file, chance.choice(self._models), 0.5, 0, 0)
            found = await self._try("segment a DICOM file", asked)
            if found:
                await self._try("download a mask", visitor.download(found[1]))

    async def _simulate(self, visitor: Visitor, chance: random.Random) -> None:
        await self._try("simulate an example", visitor.call("example", "", chance.randrange(50)))

    async def _try(self, kind: str, doing: Any) -> Any:
        start = time.monotonic()
        try:
            answer = await doing
        except QueueFull:
            self._record.full += 1
            return None
        except (Failed, httpx.HTTPError, OSError) as error:
            self._record.failures.append(f"{kind}: {type(error).__name__} {error}")
            return None
        self._record.seconds[kind].append(time.monotonic() - start)
        return True if answer is None else answer


def main() -> None:
    options = _options()
    with tempfile.TemporaryDirectory(prefix="kerasunet-load-") as place:
        with running(Path(place)) as (url, process):
            report = asyncio.run(_measure(url, process, Path(place), options=options))
        report["left_at_the_end"] = _files(Path(place))
    print(as_text(report))
    if options.json:
        options.json.write_text(json.dumps(report, indent=2) + "\n")
    if report["failures"] or report["left_by_visitors"] or report["left_at_the_end"]:
        sys.exit(1)


@contextmanager
def running(place: Path) -> Iterator[tuple[str, psutil.Process]]:
    """Start the demo, and yield its address and process; all its files lie in `place`."""
    port = _free_port()
    temporary = place / "temporary"
    temporary.mkdir()
    process = subprocess.Popen(
        [sys.executable, "demo/app.py", "--port", str(port)],
        cwd=ROOT,
        env={**os.environ, "TMPDIR": str(temporary), "KERASUNET_CACHE": str(place / "cache")},
        stdout=subprocess.DEVNULL,
    )
    try:
        url = f"http://127.0.0.1:{port}"
        _wait_for(url, process)
        yield url, psutil.Process(process.pid)
    finally:
        process.terminate()
        process.wait(60)


async def _measure(
    url: str, process: psutil.Process, place: Path, *, options: argparse.Namespace
) -> dict[str, Any]:
    config = httpx.get(f"{url}/config", trust_env=False).json()
    record = Record()
    crowd = Crowd(url, config, record)
    await crowd.warm()
    before, start = set(_files(place)), time.monotonic()
    end = start + 60 * options.minutes
    watch = asyncio.create_task(_watch_memory(process, record, start))
    await asyncio.gather(*(crowd.visit(number, end) for number in range(options.clients)))
    watch.cancel()
    lasted = time.monotonic() - start
    left = await _left_by_visitors(place, before)
    return _report(record, options.clients, lasted, left=left)


async def _watch_memory(process: psutil.Process, record: Record, start: float) -> None:
    while True:
        record.memory.append((time.monotonic() - start, process.memory_full_info().uss / _MEGA))
        await asyncio.sleep(1)


async def _left_by_visitors(place: Path, before: set[str]) -> list[str]:
    """Their files that are still there a minute after they left."""
    end = time.monotonic() + 60
    while (left := sorted(set(_files(place)) - before)) and time.monotonic() < end:
        await asyncio.sleep(0.5)
    return left


def _report(record: Record, clients: int, lasted: float, *, left: list[str]) -> dict[str, Any]:
    every = [second for seconds in record.seconds.values() for second in seconds]
    kinds = {kind: _times(seconds) for kind, seconds in sorted(record.seconds.items())}
    return {
        "clients": clients,
        "seconds": round(lasted, 1),
        "requests": len(every) + record.full + len(record.failures),
        "queue_full": record.full,
        "failures": record.failures,
        "times": {"all": _times(every), **kinds},
        "memory": _memory(record.memory),
        "left_by_visitors": left,
    }


def _times(seconds: list[float]) -> dict[str, float]:
    middle, most = np.percentile(seconds, [50, 95]) if seconds else (0.0, 0.0)
    return {"count": len(seconds), "p50": round(float(middle), 2), "p95": round(float(most), 2)}


def _memory(samples: list[tuple[float, float]]) -> dict[str, Any]:
    """Megabytes: means of the second and of the last minute and of all half minutes, and the most.

    Visitors come and go, so shorter means would say what they happened to look at.
    """
    after = [sample for sample in samples if sample[0] >= _MINUTE] or samples
    start, end = after[0][0], after[-1][0]
    first = float(np.mean([mb for second, mb in after if second < start + _MINUTE]))
    last = float(np.mean([mb for second, mb in after if second > end - _MINUTE]))
    return {
        "second_minute": round(first),
        "last_minute": round(last),
        "most": round(max(megabytes for _, megabytes in samples)),
        "growth_percent": round(100 * (last / first - 1), 1),
        "half_minutes": [
            round(float(np.mean([megabytes for _, megabytes in group])))
            for _, group in groupby(samples, key=lambda sample: sample[0] // _HALF_MINUTE)
        ],
    }


def as_text(report: dict[str, Any]) -> str:
    """Return the report as Markdown."""
    memory = report["memory"]
    lines = [
        f"{report['clients']} visitors at once, {report['seconds']} s: {report['requests']:,} "
        f"requests, {len(report['failures'])} failed, {report['queue_full']} told that the queue "
        "is full.",
        "",
        "| request | count | p50 (s) | p95 (s) |",
        "| --- | --- | --- | --- |",
        *(
            f"| {kind} | {row['count']:,} | {row['p50']:.2f} | {row['p95']:.2f} |"
            for kind, row in report["times"].items()
        ),
        "",
        f"Memory: {memory['second_minute']:,} MB in the second minute, "
        f"{memory['last_minute']:,} MB in the last ({memory['growth_percent']:+.1f} %), "
        f"{memory['most']:,} MB at most. Means of half minutes: "
        f"{', '.join(format(megabytes, ',') for megabytes in memory['half_minutes'])} MB.",
        f"Files left by visitors: {len(report['left_by_visitors'])}; by the demo, when it was "
        f"ended: {len(report['left_at_the_end'])}.",
        *(f"- {words}" for words in report["failures"][:20]),
        *(f"- left: {path}" for path in report["left_by_visitors"][:20]),
    ]
    return "\n".join(lines)


def _models(config: dict[str, Any]) -> list[str]:
    """Names of the models, from the list of what fine-tuning may start from."""
    for part in config["components"]:
        if part["props"].get("elem_id") == "finetune-init":
            return [value for _, value in part["props"]["choices"]]
    return []


def _files(place: Path) -> list[str]:
    """Temporary files; what the cache of the engines holds is meant to stay."""
    walked = os.walk(place / "temporary")  # It takes no offense at folders that vanish meanwhile.
    return [
        os.path.relpath(os.path.join(at, name), place) for at, _, names in walked for name in names
    ]


def _png(pixels: np.ndarray) -> bytes:
    from kerasunet.drawing import png

    return png(pixels)


def _dicom(image: np.ndarray) -> bytes:
    from pydicom.dataset import FileDataset, FileMetaDataset
    from pydicom.uid import DigitalXRayImageStorageForPresentation, ExplicitVRLittleEndian

    meta = FileMetaDataset()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    meta.MediaStorageSOPClassUID = DigitalXRayImageStorageForPresentation
    meta.MediaStorageSOPInstanceUID = "1.2.3"
    data = FileDataset(None, {}, file_meta=meta, preamble=b"\0" * 128)
    data.SOPClassUID, data.SOPInstanceUID = meta.MediaStorageSOPClassUID, "1.2.3"
    data.Rows, data.Columns = image.shape
    data.SamplesPerPixel, data.PhotometricInterpretation = 1, "MONOCHROME2"
    data.BitsAllocated, data.BitsStored, data.HighBit, data.PixelRepresentation = 16, 12, 11, 0
    data.PixelSpacing = [0.2, 0.2]
    data.PixelData = (image.astype(np.uint16) * 16).tobytes()
    buffer = io.BytesIO()
    data.save_as(buffer, enforce_file_format=True)
    return buffer.getvalue()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def _wait_for(url: str, process: subprocess.Popen) -> None:
    end = time.monotonic() + _PATIENCE
    while time.monotonic() < end:
        if process.poll() is not None:
            raise RuntimeError(f"the demo stopped with {process.returncode}")
        try:
            httpx.get(url, timeout=5, trust_env=False)
            return
        except httpx.HTTPError:
            time.sleep(0.3)
    raise TimeoutError(f"the demo did not answer within {_PATIENCE} s")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--clients", type=int, default=50, help="visitors at once (default: 50)")
    parser.add_argument("--minutes", type=float, default=3, help="how long (default: 3)")
    parser.add_argument("--json", type=Path, help="write the figures here, too")
    return parser.parse_args()


if __name__ == "__main__":
    main()
