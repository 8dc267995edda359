"""The demo's actions as tools, called by a client of the Model Context Protocol."""

from __future__ import annotations

import ast
import asyncio
import base64
import urllib.request

import cv2
import numpy as np
import pytest

from kerasunet import Segmenter
from kerasunet.data.simulation import simulate

pytest.importorskip("mcp", reason="the extra mcp is not installed")

from mcp import ClientSession  # noqa: E402
from mcp.client.streamable_http import streamable_http_client  # noqa: E402

pytestmark = pytest.mark.slow

TOOLS = {"models", "segment", "compare", "batch", "example", "guess_modality", "describe_strategy"}


@pytest.fixture(scope="module")
def answers(demo_url, scan) -> dict:
    """What the server says in one conversation."""
    return asyncio.run(_converse(f"{demo_url}/gradio_api/mcp/", scan))


@pytest.fixture(scope="module")
def scan() -> bytes:
    """A PNG file of a simulated ultrasound image."""
    image = simulate("breast-ultrasound", 21, 0, size=(150, 180)).image
    return cv2.imencode(".png", image.astype(np.uint8))[1].tobytes()


async def _converse(url: str, scan: bytes) -> dict:
    file = "data:image/png;base64," + base64.b64encode(scan).decode("ascii")
    asked = {"image": file, "model": "tiny", "threshold": 0.4}
    async with (
        streamable_http_client(url) as (read, write, *_),
        ClientSession(read, write) as session,
    ):
        await session.initialize()
        return {
            "tools": (await session.list_tools()).tools,
            "segment": await session.call_tool("segment", asked),
            "example": await session.call_tool("example", {"modality": "xray", "number": 2}),
            "wrong": await session.call_tool("segment", asked | {"model": "none-such"}),
            "address": await session.call_tool("segment", asked | {"image": "http://127.0.0.1/x"}),
        }


def _outputs(answer) -> list[dict]:
    return ast.literal_eval(_words(answer))


def _picture(file: dict) -> np.ndarray:
    """What lies at the address in an answer."""
    with urllib.request.urlopen(file["url"], timeout=300) as opened:
        return cv2.imdecode(np.frombuffer(opened.read(), np.uint8), cv2.IMREAD_UNCHANGED)


def _words(answer) -> str:
    return " ".join(part.text for part in answer.content if part.type == "text")


def test_tools_are_listed_with_what_they_take(answers):
    tools = {tool.name: tool for tool in answers["tools"]}
    assert tools.keys() == TOOLS
    assert "Segment one ultrasound or X-ray image" in tools["segment"].description
    taken = tools["segment"].inputSchema
    assert list(taken["properties"]) == ["image", "model", "threshold", "smallest", "frame"]
    assert "0 to 1" in taken["properties"]["threshold"]["description"]


def test_segment_gives_the_mask_that_the_library_computes(answers, scan, tiny_model_file, tmp_path):
    path = tmp_path / "scan.png"
    path.write_bytes(scan)
    expected = Segmenter(tiny_model_file, engine="keras")(path).probability >= 0.4
    facts, file = _outputs(answers["segment"])
    mask = _picture(file)
    assert 0 < expected.sum() < expected.size
    assert np.mean((mask > 0) != expected) < 1e-3  # Engines differ in the last digits.
    assert set(np.unique(mask)) == {0, 255}
    assert facts["area_pixels"] == (mask > 0).sum()
    assert facts["model"] == "tiny"


def test_example_gives_an_image_and_its_mask(answers):
    image, mask = map(_picture, _outputs(answers["example"]))
    assert image.shape[:2] == mask.shape[:2] == (512, 512)
    assert set(np.unique(mask)) == {0, 255}


def test_what_is_wrong_is_told(answers):
    assert answers["wrong"].isError
    assert "none-such: no such model; choose from natural, tiny" in _words(answers["wrong"])
    assert answers["address"].isError
    assert "give the file itself, not its address" in _words(answers["address"])
