"""The API for programs: endpoints for `gradio_client`, which are also tools for MCP clients."""

from __future__ import annotations

from typing import Any

import gradio as gr
import numpy as np

from kerasunet.comparison import Choice, compare, smallest_area, without_small_regions
from kerasunet.comparison_report import as_zip, rows, safe_name
from kerasunet.demo import compare_batch as batch
from kerasunet.demo.context import MODEL_QUEUE, Context, Result, SavedModel
from kerasunet.demo.visitors import (
    MODALITIES,
    InputImage,
    new_file,
    open_image,
    simulate_example,
    whole_number,
    with_truth,
)
from kerasunet.drawing import png
from kerasunet.inference.segmenter import Segmentation
from kerasunet.metrics import area_mm2


def build(context: Context) -> None:
    """Register the endpoints, without anything to see on the page."""
    calls = _Endpoints(context)
    with gr.Row(visible=False):
        image, truth = gr.File(label="image"), gr.File(label="truth")
        images = gr.File(label="images", file_count="multiple")
        text, model = gr.Textbox("", label="modality"), gr.Textbox(label="model")
        threshold, smallest = gr.Number(0.5, label="threshold"), gr.Number(0, label="smallest")
        whole = gr.Number(0, label="frame")
        chosen = gr.Textbox("", label="object")
        table, facts = gr.JSON(label="table"), gr.JSON(label="facts")
        file, second = gr.File(label="file"), gr.File(label="second file")
        filters = [threshold, smallest]
        _publish(calls.models, [], facts)
        _publish(calls.segment, [image, model, *filters, whole], [facts, file], **MODEL_QUEUE)
        given = [image, truth, text, *filters, whole, chosen]
        _publish(calls.compare, given, [table, file], **MODEL_QUEUE)
        _publish(calls.batch, [images, text, *filters], [table, file], **MODEL_QUEUE)
        _publish(calls.example, [text, whole], [file, second])
        _publish(calls.guess_modality, [image], facts)


def _publish(call, inputs: list, outputs, **settings) -> None:
    gr.Button(visible=False).click(call, inputs, outputs, api_name=call.__name__, **settings)


class _Endpoints:
    """One method per endpoint; clients see the docstrings as documentation."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._candidates_of = batch.candidates_of(context)

    def models(self) -> list[dict[str, Any]]:
        """List the saved models: name, modality, trained layers, start, steps and image size.

        Those that find several objects name them.
        """
        return [
            {"name": m.name, "modality": m.modality, "strategy": m.label, **_described(m)}
            for m in self._context.models.registered
        ]

    def segment(
        self,
        request: gr.Request,
        image: str,
        model: str,
        threshold: float = 0.5,
        smallest: float = 0.0,
        frame: int = 0,
    ) -> tuple[dict[str, Any], str]:
        """Segment one ultrasound or X-ray image with one saved model. Research use only.

        Args:
            image: PNG, JPEG, TIFF, BMP, DICOM or NIfTI file.
            model: Name of a saved model, as `models` lists them.
            threshold: Probability from which a pixel counts as foreground, 0 to 1.
            smallest: Percentage of the image below which a region is dropped.
            frame: Frame or slice of the file, from 0.

        Returns:
            Area in pixels and, if the pixel size is known, in square millimeters; of a file of
            several frames, which one it is; and the mask as a PNG file of 0 and 255, of the size of
            the image. For a model of several objects, these numbers for each, and the mask as
            numbers of the objects from 1 (for overlapping ones, one bit each).
        """
        self._context.files.keep(request, image)
        given, choice = _read(image, frame), _choice(threshold, smallest)
        known = {entry.name: entry for entry in self._context.models.registered}
        if model not in known:
            raise _error(f"{model}: no such model; choose from {', '.join(known)}")
        found = _guarded(self._context.models.candidate, known[model]).segment(given.pixels)
        least = smallest_area(given.pixels.shape[:2], choice.smallest)
        planes = [
            without_small_regions(plane, least)
            for plane in _decided(found, choice.threshold).values()
        ]
        mask = found.objects.encode(planes)
        facts: dict[str, Any] = {"image": given.title, "model": model}
        if found.objects.several:
            named = zip(found.objects.names, planes, strict=True)
            facts["objects"] = {name: _areas(plane, given) for name, plane in named}
        facts |= _areas(mask > 0, given)
        name = f"{safe_name(given.title)}-{safe_name(model)}.png"
        return facts, self._file(request, name, png(mask))

    def compare(
        self,
        request: gr.Request,
        image: str,
        truth: str | None = None,
        modality: str = "",
        threshold: float = 0.5,
        smallest: float = 0.0,
        frame: int = 0,
        object: str = "",
    ) -> tuple[list[dict[str, Any]], str]:
        """Segment one image with every model of its modality and compare them.

        Args:
            image: PNG, JPEG, TIFF, BMP, DICOM or NIfTI file.
            truth: File of the true mask, of 0 and one other value, or nothing.
            modality: `ultrasound`, `xray`, or empty to guess it.
            threshold: Probability from which a pixel counts as foreground, 0 to 1.
            smallest: Percentage of the image below which a region is dropped.
            frame: Frame or slice of the file, from 0.
            object: Which object to compare where models find several, such as `heart`; empty for
                the first.

        Returns:
            A row per model, sorted by Dice with the true mask, or without one by Dice with the
            consensus, which is agreement and not quality; and a zip with all masks, overlays, table
            and report. `seen` says whether a model was trained on the image or chosen by it: `yes`,
            `no` or `unknown`; one that was comes last and is never the best.
        """
        self._context.files.keep(request, image, truth)
        given = _read(image, frame).with_modality(_modality(modality))
        candidates = _guarded(self._candidates_of, given.modality)
        if truth:
            given = _guarded(with_truth, given, truth, batch.objects_of(candidates))
        comparison = _guarded(compare, given.pixels, candidates, given.spacing)
        if object and object not in comparison.objects:
            known = ", ".join(comparison.objects) or "these models find only one"
            raise _error(f"{object}: there is no such object to choose; {known}")
        result, choice = Result(given, comparison, object), _choice(threshold, smallest)
        verdict, scores = result.evaluate(choice)
        packed = as_zip(given.title, result.comparison, verdict, scores=scores, truth=result.truth)
        path = self._file(request, f"kerasunet-{safe_name(given.title)}.zip", packed)
        return rows(given.title, scores, choice, object_=result.shown), path

    def batch(
        self,
        request: gr.Request,
        images: list[str],
        modality: str = "",
        threshold: float = 0.5,
        smallest: float = 0.0,
    ) -> tuple[list[dict[str, Any]], str]:
        """Compare every model on several images; NAME_mask files are their true masks.

        Args:
            images: Image and mask files.
            modality: `ultrasound`, `xray`, or empty to guess it for each image.
            threshold: Probability from which a pixel counts as foreground, 0 to 1.
            smallest: Percentage of the image below which a region is dropped.

        Returns:
            A row per model and image; and a zip with all masks and the table.
        """
        self._context.files.keep(request, *(images or []))
        given = _guarded(batch.pair_masks, images or [])
        results, choice = batch.BatchResults([], {}), _choice(threshold, smallest)
        list(
            batch.run(
                results, given, self._candidates_of, modality=_modality(modality), choice=choice
            )
        )
        return results.lines, self._file(request, "kerasunet-batch.zip", results.zip)

    def example(self, request: gr.Request, modality: str = "", number: int = 0) -> tuple[str, str]:
        """Simulate an image with its exact mask, to try the other endpoints with.

        Args:
            modality: `ultrasound`, which is also what empty stands for, or `xray`.
            number: Which one, from 0.

        Returns:
            Image and mask as PNG files.
        """
        wanted = _modality(modality) or next(iter(MODALITIES))
        made = _guarded(simulate_example, wanted, _guarded(whole_number, "number", number or 0, 0))
        pictures = {"": made.pixels.astype("uint8"), "_mask": made.truth}
        image, mask = (
            self._file(request, f"{made.name}{ending}.png", png(picture))
            for ending, picture in pictures.items()
        )
        return image, mask

    def guess_modality(self, request: gr.Request, image: str) -> dict[str, str]:
        """Guess whether an image is an ultrasound image or a chest X-ray. It is only a guess.

        Args:
            image: PNG, JPEG, TIFF, BMP, DICOM or NIfTI file.

        Returns:
            The modality, `ultrasound` or `xray`.
        """
        self._context.files.keep(request, image)
        return {"modality": _read(image, 0).modality}

    def _file(self, request: gr.Request, name: str, data: bytes) -> str:
        """Write a file that is deleted with the session of the request."""
        path = new_file(name, data)
        self._context.files.keep(request, path)
        return str(path)


def _described(model: SavedModel) -> dict[str, Any]:
    several = model.card.marked.several
    return {**model.card.origin, **({"objects": [*model.objects]} if several else {})}


def _decided(found: Segmentation, threshold: float) -> dict[str, np.ndarray]:
    """Return the mask of each object at a threshold, where there is one to set."""
    if found.objects.exclusive:
        return found.masks
    probabilities = found.probability if found.objects.several else found.probability[None]
    return dict(zip(found.objects.names, probabilities >= threshold, strict=True))


def _areas(mask: np.ndarray, image: InputImage) -> dict[str, Any]:
    return {"area_pixels": int(mask.sum()), "area_mm2": area_mm2(mask, image.spacing)}


def _read(image: str | None, frame: int | None) -> InputImage:
    if not image:
        raise _error("give an image file")
    return _guarded(open_image, image, _guarded(whole_number, "frame", frame or 0, 0))


def _choice(threshold: float | None, smallest: float | None) -> Choice:
    return _guarded(Choice, 0.5 if threshold is None else threshold, smallest or 0.0)


def _modality(modality: str | None) -> str:
    if modality and modality not in MODALITIES:
        raise _error(f"{modality!r}: a modality is {' or '.join(MODALITIES)}, or empty")
    return modality or ""


def _guarded(call, *arguments):
    """Call a function; a fault of the input reaches the client as one plain sentence."""
    try:
        return call(*arguments)
    except ValueError as error:
        raise _error(str(error)) from None


def _error(words: str) -> gr.Error:
    return gr.Error(words, print_exception=False)
