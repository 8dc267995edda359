"""Visitors who mean harm, over raw HTTP."""

from __future__ import annotations

import csv
import http.client
import io
import json
import os
import re
import secrets
import struct
import subprocess
import sys
import threading
import zipfile
import zlib
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from urllib.parse import urlparse

import cv2
import httpx
import numpy as np
import psutil
import pytest
from helpers.browser import ROOT
from helpers.hostile_names import FORMULAS, MARKUP, TEMPTING
from helpers.images import disc_images

from kerasunet.comparison import Candidate, Choice
from kerasunet.comparison_report import without_formulas
from kerasunet.demo import compare_batch as batch
from kerasunet.demo.context import PRETRAINED
from kerasunet.demo.finetune_jobs import MaskChoice, Workspace, adapt_settings, settings
from kerasunet.demo.visitors import open_image, open_mask

pytestmark = pytest.mark.slow
API = "/gradio_api"
PATHS = (
    "/etc/passwd",
    "../../../../../../etc/passwd",
    "file:///etc/passwd",
    "%2e%2e/%2e%2e/%2e%2e/etc/passwd",
    "/proc/self/environ",
    str(ROOT / "setup.cfg"),
    "setup.cfg",
)
ADDRESSES = (
    "http://127.0.0.1:{port}/a.png",
    "http://192.0.2.7/a.png",
    "https://nowhere.test/a.png",
)


@pytest.fixture(scope="module")
def site(demo_url):
    with httpx.Client(base_url=demo_url, timeout=300, trust_env=False) as client:
        yield client


@pytest.fixture(scope="module")
def config(site) -> dict:
    """What the page is made of, as it tells everybody."""
    return site.get("/config").json()


@pytest.fixture(scope="module")
def events(config) -> list[dict]:
    """What happens on the page."""
    return config["dependencies"]


@pytest.fixture(scope="module")
def canary():
    """A server on this machine that nobody has any business with; its port, and who came."""
    came: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):  # noqa: N802
            came.append(self.path)
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_):
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server.server_port, came
    server.shutdown()


@pytest.fixture(scope="module")
def scan() -> bytes:
    return cv2.imencode(".png", disc_images(1, 64)[0][0])[1].tobytes()


def given(path: str, **more) -> dict:
    return {"path": path, "meta": {"_type": "gradio.FileData"}, **more}


def happen(site, event: int, data: list, headers: dict | None = None, **more) -> dict:
    """Has any event of the page happen, public or not; returns its output, or the error's."""
    session = secrets.token_hex(6)
    body = {"fn_index": event, "data": data, "session_hash": session, **more}
    joined = site.post(f"{API}/queue/join", json=body, headers=headers)
    if joined.status_code != 200:
        return {"error": joined.text}
    with site.stream("GET", f"{API}/queue/data", params={"session_hash": session}) as stream:
        for line in stream.iter_lines():
            message = json.loads(line.removeprefix("data:")) if line else {}
            if message.get("msg") == "process_completed":
                return message["output"]
            if message.get("msg") == "unexpected_error":
                return {"error": message["message"]}
    raise AssertionError("the stream ended")


def named(events: list[dict], name: str) -> int:
    return next(event["id"] for event in events if event["api_name"] == name)


def is_refused(answer: dict) -> bool:
    return "error" in answer and "data" not in answer


def is_well(site) -> bool:
    return site.get("/config").status_code == 200


# Files of this machine, and addresses


@pytest.mark.parametrize("path", PATHS)
def test_no_file_of_this_machine_is_served(site, path):
    answer = site.get(f"{API}/file={path}")
    assert answer.status_code in (403, 404)
    assert "root:" not in answer.text and "[metadata]" not in answer.text


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("shape", ["whole", "bare"])
def test_no_file_of_this_machine_is_read(site, events, path, shape):
    file = given(path) if shape == "whole" else {"path": path}
    for name, data in (("guess_modality", [file]), ("segment", [file, "tiny", 0.5, 0, 0])):
        answer = happen(site, named(events, name), data)
        assert is_refused(answer), answer


@pytest.mark.parametrize("address", ADDRESSES)
def test_no_address_is_fetched(site, events, canary, address):
    port, came = canary
    address = address.format(port=port)
    for file in (given(address), given(address, url=address), {"path": address, "url": address}):
        answer = happen(site, named(events, "guess_modality"), [file])
        assert is_refused(answer), answer
    told = happen(site, named(events, "guess_modality"), [given(address)])["error"]
    assert told == "give the file itself, not its address: this page fetches nothing"
    for way in ("file=", "proxy="):
        assert site.get(f"{API}/{way}{address}").status_code in (400, 403, 404)
    assert came == []


def test_no_event_takes_files_of_this_machine_or_addresses(site, events, canary):
    port, came = canary
    for event in filter(lambda event: event["backend_fn"], events):
        for path in ("/etc/passwd", f"http://127.0.0.1:{port}/a.png"):
            answer = happen(site, event["id"], [given(path)] * len(event["inputs"]))
            assert "root:" not in json.dumps(answer)
    assert came == [] and is_well(site)


def test_models_are_named_not_opened(site, events):
    for init in ("/etc/passwd", "../models/tiny", str(ROOT / "saved_models" / "natural.keras")):
        answer = happen(site, named(events, "describe_strategy"), ["all", init, 128, ""])
        assert "no such model; choose from natural, tiny" in answer["error"]


def test_what_the_page_does_not_use_is_closed(site):
    pages = ("vibe-edit", "vibe-code", "run-history/buckets", "deep_link?session_hash=x", "runs")
    for name in (*pages, "process_recording"):
        for method in ("GET", "POST"):
            assert site.request(method, f"{API}/{name}").status_code in (403, 404, 405), name
    for name in ("/monitoring", "/monitoring/summary", "/docs", f"{API}/docs"):
        assert site.get(name).status_code in (403, 404), name


def test_another_page_cannot_use_a_visitors_browser(site):
    answer = site.get("/config", headers={"Origin": "https://evil.test"})
    assert answer.headers.get("access-control-allow-origin") is None


# Sizes


def test_uploads_and_bodies_have_limits(demo_url, site):
    assert _announce(demo_url, f"{API}/upload", 501 * 2**20) == 413
    assert _announce(demo_url, f"{API}/queue/join", 151 * 2**20) == 413
    answer = site.post(f"{API}/upload", files={"files": ("a.png", bytes(101 * 2**20))})
    assert answer.status_code in (400, 413)


def _announce(url: str, path: str, size: int) -> int:
    """The status that comes before any of the body is sent."""
    place = urlparse(url)
    connection = http.client.HTTPConnection(place.hostname, place.port, timeout=300)
    connection.putrequest("POST", path)
    connection.putheader("Content-Type", "multipart/form-data; boundary=x")
    connection.putheader("Content-Length", str(size))
    connection.endheaders()
    status = connection.getresponse().status
    connection.close()
    return status


def test_pictures_with_too_many_pixels_are_refused_before_they_are_decoded(site, events):
    for data in (_huge_png(100_000, 100_000), _huge_png(4000, 4000)):
        answer = happen(site, named(events, "guess_modality"), [upload(site, "huge.png", data)])
        assert "huge.png" in answer["error"] and "12,000,000" in answer["error"], answer


def _huge_png(width: int, height: int) -> bytes:
    def chunk(kind: bytes, data: bytes) -> bytes:
        check = struct.pack(">I", zlib.crc32(kind + data))
        return struct.pack(">I", len(data)) + kind + data + check

    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    rows = zlib.compress(bytes(1000))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        chunk(*part) for part in ((b"IHDR", header), (b"IDAT", rows), (b"IEND", b""))
    )


# Names and values


def upload(site, name: str, data: bytes) -> dict:
    answer = site.post(f"{API}/upload", files={"files": (name, data)})
    assert answer.status_code == 200, answer.text
    return given(answer.json()[0], orig_name=name)


@pytest.mark.parametrize(
    "name",
    [
        "../../../evil.png",
        "..",
        "..\\..\\evil.png",
        "/etc/evil.png",
        ".evil.png",
        "evil\n.png",
        f"{MARKUP}.png",
        "$(touch evil).png",
        f"{TEMPTING}.png",
        "x" * 300 + ".png",
        *(f"{formula}.png" for formula in FORMULAS),
    ],
)
def test_names_stay_names(site, events, scan, demo_place, name):
    answer = site.post(f"{API}/upload", files={"files": (name, scan)})
    assert answer.status_code in (200, 400)
    if answer.status_code == 200:
        path = Path(answer.json()[0])
        assert path.resolve().is_relative_to((demo_place / "temporary").resolve())
        done = happen(site, named(events, "segment"), [given(str(path)), "tiny", 0.5, 0, 0])
        made = Path(done["data"][1]["path"]).name
        assert re.fullmatch(r"[\w.-]+", made) and not made.startswith((".", "-"))
    assert not list(ROOT.glob("*evil*"))


@pytest.mark.parametrize(
    "values",
    [
        ["tiny", "abc", 0, 0],
        ["tiny", 1e308, -5, 0],
        ["tiny", 0.5, 0, 1e308],
        ["tiny", 0.5, 0, -7],
        ["tiny", None, None, "x"],
        [{"a": 1}, 0.5, 0, 0],
        ["../tiny", 0.5, 0, 0],
        ["tiny", [0.5], 0, 0],
    ],
)
def test_values_that_are_none_are_refused_and_the_page_goes_on(site, events, scan, values):
    file = upload(site, "scan.png", scan)
    assert is_refused(happen(site, named(events, "segment"), [file, *values]))
    assert is_well(site)


@pytest.mark.parametrize("index", [10**30, -99, "__class__", None, [], {"index": {}}])
def test_events_of_the_page_take_no_nonsense(site, config, index):
    shown = {part["id"]: part["props"].get("value") for part in config["components"]}
    for event in config["dependencies"]:
        if event["backend_fn"] and "pick" in [trigger for _, trigger in event["targets"]]:
            data = {"index": index, "name": index}
            answer = happen(site, event["id"], [shown[i] for i in event["inputs"]], event_data=data)
            assert is_refused(answer) or "data" in answer
    assert is_well(site)


def test_a_session_takes_nothing_from_another(site, events, scan, demo_place):
    """Equal files are one: who leaves must not take away what another has just given."""
    file = upload(site, "shared.png", scan)
    with site.stream("GET", f"{API}/heartbeat/one-who-leaves") as beat:
        next(beat.iter_lines())
        data = {"fn_index": named(events, "guess_modality"), "data": [file]}
        site.post(f"{API}/queue/join", json={**data, "session_hash": "one-who-leaves"})
        upload(site, "shared.png", scan)
    answer = happen(site, named(events, "guess_modality"), [file])
    assert answer["data"][0]["modality"]


# What is not there


def test_only_this_machine_is_listened_to(demo_url):
    port = urlparse(demo_url).port
    mine = [
        c.laddr.ip
        for c in psutil.net_connections("tcp")
        if c.status == psutil.CONN_LISTEN and c.laddr.port == port
    ]
    assert mine == ["127.0.0.1"]


def test_training_and_folders_are_not_there_for_strangers():
    code = (
        "from kerasunet.demo import server as app;"
        "from kerasunet.demo.context import is_local;"
        "from kerasunet.demo.context import ModelStore;"
        "assert is_local(None) and is_local('127.0.0.1') and not is_local('0.0.0.0');"
        "names = lambda page: {f.name for f in page.fns.values()};"
        "own = names(app.build(ModelStore(), local=True));"
        "assert {'_start', '_open_archive', '_open_folder'} <= own, own;"
        "page = app.build(ModelStore(), local=is_local('0.0.0.0'));"
        "text = str(page.get_config_file());"
        "assert 'training-off' in text and 'finetune-zip' not in text;"
        "strangers = names(page);"
        "assert not {'_start', '_open_archive', '_open_folder', '_poll'} & strangers, strangers;"
        "allowed = names(app.build(ModelStore(), allow_training=True, local=False));"
        "assert '_start' in allowed and '_open_folder' not in allowed, allowed"
    )
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True, timeout=300)


THROUGH = [{"Host": "abc.gradio.live"}, {"X-Forwarded-For": "203.0.113.7"}, {"Via": "1.1 proxy"}]


@pytest.mark.parametrize("headers", THROUGH, ids=lambda headers: next(iter(headers)))
def test_who_comes_through_a_tunnel_or_a_proxy_is_a_stranger(site, config, headers):
    named = {part["props"].get("elem_id"): part["id"] for part in config["components"]}
    started = [
        event for event in config["dependencies"] if named["finetune-steps"] in event["inputs"]
    ]
    opened = {event["inputs"][0]: event for event in config["dependencies"] if event["inputs"]}
    folder, zipped = opened[named["finetune-folder"]], opened[named["finetune-zip"]]
    no_choice = ["", None]  # Of an object and of a threshold.
    told = happen(site, folder["id"], [str(ROOT), *no_choice], headers)["data"][0]
    assert "folders can be named only on this machine" in told
    told = happen(site, zipped["id"], [None, *no_choice], headers)["data"][0]
    assert "training is off for visitors from other machines" in told
    answer = happen(site, started[0]["id"], ["all", 10, "tiny", 32, 1e-3], headers)
    assert "training is off for visitors from other machines" in json.dumps(answer)
    (adapting,) = (e for e in config["dependencies"] if e["inputs"] == [named["adapt-budget"]])
    answer = happen(site, adapting["id"], ["quick"], headers)
    assert "training is off for visitors from other machines" in json.dumps(answer)
    told = happen(site, folder["id"], [str(ROOT / "nowhere"), *no_choice])["data"][0]
    assert "nowhere: not a folder" in told


def test_the_page_is_never_shared_through_a_tunnel(tmp_path):
    code = (
        "import gradio, gradio.blocks as blocks;"
        "blocks.networking.setup_tunnel = lambda *_, **__: print('SHARED') or 'https://x.test';"
        "gradio.Blocks.block_thread = lambda page: print('open', page.share);"
        "from kerasunet.demo.server import launch;"
        "launch()"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        env={**os.environ, "GRADIO_SHARE": "True", "KERASUNET_MODELS": str(tmp_path)},
        capture_output=True,
        text=True,
        check=True,
        timeout=300,
    )
    assert "open False" in done.stdout and "SHARED" not in done.stdout
    assert "share=True" not in done.stdout and "The demo is at http://127.0.0.1:" in done.stdout


# What belongs together


def test_files_of_one_name_are_told_apart_or_refused(tmp_path, scan):
    given = [tmp_path / folder / "scan.png" for folder in "abc"]
    for path in given:
        path.parent.mkdir()
        path.write_bytes(scan)
    given[2].write_bytes(b"broken")
    results = batch.BatchResults([], {})
    one = Candidate("all", "all", 1, True, lambda image: Found(image > 100))
    pairs = batch.pair_masks(list(map(str, given)))
    known = {"modality": "ultrasound", "choice": Choice()}
    assert list(batch.run(results, pairs, lambda _: [one], **known)) == [
        "scan.png", "scan.png (2)", "scan.png (3)",
    ]  # fmt: skip
    assert [line["image"] for line in results.lines] == ["scan.png", "scan.png (2)", "scan.png (3)"]
    assert len(results.files) == 4 and "error" in results.lines[2]
    for names in (["a/scan.png", "b/scan.png", "scan_mask.png"], ["scan.png", *2 * ["x_mask.png"]]):
        paths = [f"{number}/{name}" for number, name in enumerate([*names, "x.png"])]
        with pytest.raises(ValueError, match="several images or masks have this name"):
            batch.pair_masks(paths)


class Found:
    """What a model found."""

    def __init__(self, mask):
        self.probability = mask.astype("float32")


def test_data_that_were_checked_stay_if_the_next_cannot_be_unpacked(tmp_path, scan):
    workspace, good, bad = Workspace(tmp_path / "own"), tmp_path / "good.zip", tmp_path / "bad.zip"
    mask = cv2.imencode(".png", disc_images(1, 64)[1][0].astype("uint8") * 255)[1].tobytes()
    with zipfile.ZipFile(good, "w") as archive:
        archive.writestr("images/scan.png", scan)
        archive.writestr("masks/scan.png", mask)
    report = workspace.open_archive(good)
    assert report.data is not None and len(report.data) == 1
    bad.write_bytes(good.read_bytes()[:-40])
    with pytest.raises(ValueError, match="bad.zip"):
        workspace.open_archive(bad)
    assert workspace.report is report
    assert report.data.cases[0].load().image.shape == (64, 64)
    assert len(workspace.open_archive(good).data) == 1


def label_zip(path, scan):
    """A zip of an image with the values 1 and 2 in its mask."""
    labels = np.zeros((64, 64), np.uint8)
    labels[5:20, 9:30], labels[30:50, 9:30] = 1, 2
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("images/scan.png", scan)
        archive.writestr("masks/scan.png", cv2.imencode(".png", labels)[1].tobytes())
    return path


def test_the_object_is_chosen_on_the_page(tmp_path, scan):
    workspace = Workspace(tmp_path / "own")
    with pytest.raises(ValueError, match="there are no images yet"):
        workspace.choose(MaskChoice())
    report = workspace.open_archive(label_zip(tmp_path / "a.zip", scan))
    assert report.counts()["error"] == 1
    report = workspace.choose(MaskChoice.of("cyst=2", None))
    assert report.counts()["error"] == 0
    (case,) = report.data.cases
    assert case.load().mask.sum() == 20 * 21
    wanted = settings(report, "all", 2, PRETRAINED, 32, 1e-3, choice=workspace.choice)
    assert (wanted.objects, wanted.mask_threshold) == (("cyst=2",), None)
    (problem,) = workspace.choose(MaskChoice.of("cyst=2", 127)).problems
    assert "cannot be combined with --objects" in problem.message
    for texts in (("a'b", None), ("", 300), ("", 0.5)):
        with pytest.raises(ValueError, match="quote is not closed|a whole gray level"):
            MaskChoice.of(*texts)


def test_several_objects_are_trained_but_not_with_a_frozen_new_head(tmp_path, scan):
    workspace = Workspace(tmp_path / "own")
    choice = MaskChoice.of("node=1 cyst=2", None)
    report = workspace.open_archive(label_zip(tmp_path / "a.zip", scan), choice)
    assert report.counts()["error"] == 0 and report.data.objects.names == ("node", "cyst")
    asked = (2, PRETRAINED, 32, 1e-3)
    with pytest.raises(ValueError, match=r"node, cyst.*give contracting\+head"):
        settings(report, "contracting", *asked, choice=choice)
    assert settings(report, "contracting+head", *asked, choice=choice).objects == choice.objects
    assert adapt_settings(report, "quick", choice=choice).objects == choice.objects
    (mask,) = (workspace.unpacked / "masks").iterdir()
    secret = mask.rename(tmp_path / "secret.png")
    mask.symlink_to(secret)
    with pytest.raises(ValueError, match="lies outside the archive"):
        workspace.choose(choice)


def test_a_choice_opens_no_way_out_of_the_archive(tmp_path, scan):
    (tmp_path / "secret.png").write_bytes(scan)
    (tmp_path / "own").mkdir()
    content = {
        "images": [{"id": 1, "file_name": "x.png", "width": 64, "height": 64}],
        "categories": [{"id": 1, "name": "a"}, {"id": 2, "name": "b"}],
        "annotations": [
            {"id": n, "image_id": 1, "category_id": n, "segmentation": [[5, 5, 30, 5, 30, 30]]}
            for n in (1, 2)
        ],
    }
    archive = tmp_path / "a.zip"
    with zipfile.ZipFile(archive, "w") as made:
        made.writestr("x.png", scan)
        made.writestr("coco.json", json.dumps(content))
    workspace = Workspace(tmp_path / "own")
    report = workspace.open_archive(archive)
    assert any("has several objects, a (1), b (1)" in p.message for p in report.problems)
    folder = workspace.unpacked
    (folder / "x.png").unlink()
    (folder / "x.png").symlink_to(tmp_path / "secret.png")
    with pytest.raises(ValueError, match="lies outside the archive"):
        workspace.choose(MaskChoice.of("a", None))
    assert workspace.report is None


def test_a_mask_of_several_values_names_no_option_of_the_command_line(tmp_path, scan):
    (tmp_path / "scan.png").write_bytes(scan)
    labels = np.zeros((64, 64), np.uint8)
    labels[5:20, 9:30], labels[30:50, 9:30] = 1, 2
    cv2.imwrite(str(tmp_path / "mask.png"), labels)
    with pytest.raises(ValueError, match=r"^mask\.png: not a binary.*give a mask of one object$"):
        open_mask(str(tmp_path / "mask.png"), open_image(str(tmp_path / "scan.png")))


def test_tables_of_a_run_lose_their_formulas_and_keep_their_numbers():
    text = 'case,dice\n=1+1,-0.5\n"a;=1+1",1e-3\n  @SUM(1),nan\nplain,0.25\n'
    rows = list(csv.reader(io.StringIO(without_formulas(text))))
    assert [row[0] for row in rows] == ["case", "'=1+1", "a;'=1+1", "'  @SUM(1)", "plain"]
    assert [row[1] for row in rows] == ["dice", "-0.5", "1e-3", "nan", "0.25"]
