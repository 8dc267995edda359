"""One visitor of the demo, who speaks the page's own protocol: HTTP and server-sent events."""

from __future__ import annotations

import asyncio
import json
import secrets
from contextlib import suppress
from typing import Any

import httpx

API = "/gradio_api"
_FULL = 503
_PATIENCE = httpx.Timeout(600, connect=120)


class QueueFull(Exception):
    """The demo asks to come again later."""


class Failed(Exception):
    """The demo answered with an error."""


class Visitor:
    """A session of its own, which lasts as long as the context does.

    Args:
        url: Address of the demo.
        config: What the page is made of, as `/config` tells; every visitor may share it.
    """

    def __init__(self, url: str, config: dict[str, Any]) -> None:
        # A connection that is kept may be closed by the server just when it is used again.
        limits = httpx.Limits(max_keepalive_connections=0)
        self._http = httpx.AsyncClient(
            base_url=url, timeout=_PATIENCE, trust_env=False, limits=limits
        )
        self._session = secrets.token_hex(6)
        self._values = {part["id"]: part["props"].get("value") for part in config["components"]}
        self._ids = {part["props"].get("elem_id"): part["id"] for part in config["components"]}
        self._labels = {part["props"].get("label"): part["id"] for part in config["components"]}
        self._events = config["dependencies"]

    async def __aenter__(self) -> Visitor:
        self._beat = asyncio.create_task(self._stay())
        return self

    async def __aexit__(self, *_: object) -> None:
        self._beat.cancel()
        with suppress(asyncio.CancelledError):
            await self._beat
        await self._http.aclose()

    async def open_page(self) -> None:
        """Load the page as a browser does."""
        (await self._http.get("/")).raise_for_status()
        (await self._http.get("/config")).raise_for_status()

    async def upload(self, name: str, data: bytes) -> dict[str, Any]:
        """Upload a file and return what components take as their value."""
        answer = await self._http.post(f"{API}/upload", files={"files": (name, data)})
        answer.raise_for_status()
        meta = {"_type": "gradio.FileData"}
        return {"path": answer.json()[0], "orig_name": name, "size": len(data), "meta": meta}

    async def download(self, file: dict[str, Any]) -> bytes:
        """Fetch a file that an event returned."""
        answer = await self._http.get(f"{API}/file={file['path']}")
        answer.raise_for_status()
        return answer.content

    def put(self, label: str, value: Any) -> None:
        """Set a component, by its `elem_id` or label, as a hand does."""
        self._values[self._id(label)] = value

    def value(self, label: str) -> Any:
        """Return what a component shows."""
        return self._values[self._id(label)]

    async def happen(self, label: str, event: str, data: Any = None) -> list[Any]:
        """Has an event happen on the page, with what the page shows now.

        Args:
            label: `elem_id` or label of the component.
            event: Such as `click`.
            data: What the event tells of itself.

        Returns:
            What it returned for each of its outputs.
        """
        target = [self._id(label), event]
        found = next(one for one in self._events if target in one["targets"] and one["backend_fn"])
        outputs = await self._run(found, [self._values[part] for part in found["inputs"]], data)
        for part, value in zip(found["outputs"], outputs, strict=True):
            self._take(part, value)
        return outputs

    async def call(self, name: str, *values: Any) -> list[Any]:
        """Call a named endpoint and return its outputs."""
        found = next(one for one in self._events if one["api_name"] == name)
        return await self._run(found, list(values), None)

    async def _run(self, event: dict[str, Any], values: list[Any], data: Any) -> list[Any]:
        trigger = next((target[0] for target in event["targets"]), None)
        body = {"fn_index": event["id"], "data": values, "session_hash": self._session}
        body |= {"event_data": data, "trigger_id": trigger}
        joined = await self._http.post(f"{API}/queue/join", json=body)
        if joined.status_code == _FULL and "full" in joined.text.lower():
            raise QueueFull(joined.text)
        joined.raise_for_status()
        output = await self._answer(joined.json()["event_id"])
        return output["data"]

    async def _answer(self, event: str) -> dict[str, Any]:
        path, session = f"{API}/queue/data", {"session_hash": self._session}
        async with self._http.stream("GET", path, params=session) as stream:
            async for line in stream.aiter_lines():
                message = json.loads(line.removeprefix("data:")) if line else {}
                if message.get("msg") == "process_completed" and message["event_id"] == event:
                    if not message["success"]:
                        raise Failed(str(message["output"].get("error")))
                    return message["output"]
                if message.get("msg") == "unexpected_error":
                    raise Failed(str(message["message"]))
        raise Failed("the stream ended without an answer")

    async def _stay(self) -> None:
        """Keep the session open, as the page does while it is open."""
        while True:
            with suppress(httpx.HTTPError):
                async with self._http.stream("GET", f"{API}/heartbeat/{self._session}") as beat:
                    async for _ in beat.aiter_lines():
                        pass
            await asyncio.sleep(1)

    def _id(self, label: str) -> int:
        return self._ids[label] if label in self._ids else self._labels[label]

    def _take(self, part: int, value: Any) -> None:
        if not isinstance(value, dict) or value.get("__type__") != "update":
            self._values[part] = value
        elif "value" in value:
            self._values[part] = value["value"]
