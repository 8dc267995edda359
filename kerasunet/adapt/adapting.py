"""From a lab's folder to an answer, a model and an honest estimate."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import keras
import numpy as np

from kerasunet import models
from kerasunet.adapt.answer import Answer, changes
from kerasunet.adapt.candidates import Candidate, Contenders, Fits
from kerasunet.adapt.cross_validation import (
    Chosen,
    CrossValidation,
    Estimate,
    LearningCurve,
    deal,
    estimate,
    learning_curve,
)
from kerasunet.adapt.directory import (
    ANSWER,
    MODEL,
    TOLD,
    WORK,
    AdaptDirectory,
    as_csv,
    as_html,
    as_markdown,
    worst_pictures,
)
from kerasunet.adapt.settings import AdaptSettings, Listener, Silent, fit_count, record_of, suffice
from kerasunet.adapt.starts import (
    LeftOut,
    Pictures,
    evaluate_all_untouched,
    load_start,
    short_name,
    usable_starts,
    which_file,
    with_new_heads,
)
from kerasunet.adapt.survey import MARK, OBJECT_SIDE_OF, Survey, load_cases, survey
from kerasunet.backend import prepared_backend, with_precision
from kerasunet.data.cases import DataSet
from kerasunet.data.loading import require_outside
from kerasunet.drawing import write_png
from kerasunet.files import expanded, write_json, write_text
from kerasunet.layer_selection.evidence import Evidence
from kerasunet.models import DataNote, ModelCard
from kerasunet.network import averaged, plain_copy
from kerasunet.runs.directory import exclusive
from kerasunet.runs.preparation import with_seen
from kerasunet.schema import COUNT, OBJECT, each, read_values
from kerasunet.training.evaluation import predict
from kerasunet.training.settings import without_paths

_TRAINING_COST = 4.0
"""What an image costs in training, against predicting it."""
_COMPILING = 10.0
_FOLDS = each("an object with a number for each group", COUNT)
_PLAN = {"asked": OBJECT, "steps": COUNT, "trained": COUNT, "folds": _FOLDS}
_STARTING = 20.0
_USED = 0.8
"""Share of the minutes that is planned; machines are not alone."""


def adapt(
    settings: AdaptSettings,
    directory: str | os.PathLike,
    listener: Listener | None = None,
    *,
    data: DataSet | None = None,
) -> Answer:
    """Find out which layers to tune from which start on a lab's images, and make the model.

    The folder is checked; every start is tried untouched; a few strategies are trained, those that
    published studies and the start favor; the choice is made again in every fold of a
    cross-validation, which tells what to expect on new patients; the final model is trained on all
    annotated images. An interrupted run resumes, and one with more annotations trains only what
    these change.

    Args:
        settings: The images, the starts and the budget.
        directory: Receives `answer.md`, `answer.json`, `report.html`, `model.keras` with its card,
            `cases.csv`, `check.html`, `pairs.png`, `failures.png`, and `work/`, which may be
            removed.
        listener: Is told how it is going.
        data: What `load_cases` returned for these settings; loaded here unless given.

    Returns:
        The answer.

    Raises:
        FileNotFoundError: The data or a start does not exist.
        FileExistsError: The directory holds something else.
        ValueError: The data cannot be used, the directory belongs to other data or would be read
            as data, or no start is left.
    """
    started = time.perf_counter()
    require_outside(directory, (settings.data, settings.manual_dir), levels=2)
    data = load_cases(settings) if data is None else data
    settings = with_precision(settings)
    folder, listener = expanded(directory), listener or Silent()
    for start in settings.starts:
        models.check(start)
    with exclusive(folder), prepared_backend(**settings.optimization.computation):
        return _Adaptation(settings, folder, listener, started=started).run(data)


@dataclass(frozen=True)
class _Adaptation:
    """The steps of an adaptation, in the order in which they are taken."""

    settings: AdaptSettings
    folder: Path
    listener: Listener
    started: float

    def run(self, data: DataSet) -> Answer:
        directory, asked = AdaptDirectory(self.folder), record_of(self.settings, data)
        before = directory.check(asked)
        directory.require_enough(data)
        self.listener.phase("looking at the images")
        pictures = Pictures(data)
        found = survey(self.settings, data, pictures.at(OBJECT_SIDE_OF))
        cards, left_out = usable_starts(self.settings.starts, data)
        directory.claim(asked)
        with directory.publishing() as aside:
            found.write(aside)
        for line in (*found.lines(), *which_file(cards), *(one.told() for one in left_out)):
            self.listener.note(line)
        new_heads = with_new_heads(cards, data.objects, found.object_side)
        self.listener.phase("evaluating the untouched starts")
        others = {one.start for one in new_heads}
        same = {name: card for name, card in cards.items() if name not in others}
        untouched = evaluate_all_untouched(same, pictures, found.object_side)
        contenders = Contenders(
            untouched,
            cards,
            self._evidence(),
            modality=found.modality,
            new_heads=new_heads,
            is_guessed=found.is_guessed,
        )
        kind = contenders.kind([case.key for case in data.cases])
        if kind != found.modality:
            found = replace(found, modality=kind, is_corrected=True)
            self.listener.note(f"taken for {found.kind}: starts for it do clearly better")
        unlike = {name: found.unlike(short_name(name), card) for name, card in cards.items()}
        for name, lines in unlike.items():
            for line in lines if cards[name].kind_of_image == found.modality else ():
                self.listener.note(line)
        with directory.publishing(withdrawn=TOLD) as aside:
            answer = self._answer(found, pictures, contenders, left_out=left_out, aside=aside)
            minutes = (time.perf_counter() - self.started) / 60
            answer = replace(answer, unlike=unlike, minutes=minutes)
            answer = replace(answer, changes=changes(before, answer.as_dict()))
            _write(answer, aside)
        return answer

    def _answer(
        self,
        found: Survey,
        pictures: Pictures,
        contenders: Contenders,
        *,
        left_out: tuple[LeftOut, ...],
        aside: Path,
    ) -> Answer:
        answer = Answer(
            directory=self.folder,
            survey=found,
            untouched=contenders.untouched,
            new_heads=contenders.new_heads,
            left_out=left_out,
            chosen=None,
            estimate=None,
            curve=None,
            model=None,
            steps=0,
            is_ensemble=False,
        )
        if not suffice(found.data.cases):
            return answer
        validation = self._validation(pictures, contenders, found.data)
        chosen, worth, curve = self._choose(validation)
        self.listener.phase("making the final model")
        _save_final_model(
            aside / MODEL,
            found.data,
            chosen,
            settings=self.settings,
            worth=worth,
            validation=validation,
        )
        if not validation.fits.trained:
            self.listener.note("every training was kept from before")
        if gone := models.keep_file(aside / MODEL, self.folder / MODEL):
            self.listener.note(_gone(gone))
        return replace(
            answer,
            chosen=chosen,
            estimate=worth,
            curve=curve,
            model=self.folder / MODEL,
            steps=validation.fits.steps,
            is_ensemble=self.settings.ensemble and not chosen.candidate.is_untouched,
        )

    def _evidence(self) -> Evidence:
        return Evidence.published().without(self.settings.without_evidence)

    def _validation(
        self, pictures: Pictures, contenders: Contenders, data: DataSet
    ) -> CrossValidation:
        """Return the cross-validation that the budget allows; as before, if there was one."""
        record = self.folder / WORK / "plan.json"
        plan: dict[str, Any] = {}
        if record.is_file():
            plan = read_values(record, _PLAN, "the plan of an adaptation", remedy="remove it")
        cases = pictures.at(OBJECT_SIDE_OF)
        folds = deal(cases, plan.get("folds", {}), self.settings.optimization.seed)
        asked = {"budget": self.settings.budget, "minutes": self.settings.minutes}
        costs = self._costs(pictures, contenders)
        if plan.get("asked") == asked:
            steps, trained = plan["steps"], plan["trained"]
        else:
            steps, trained = self._plan(costs, len(folds))
        fold_of = {pictures.groups[key]: n for n, keys in enumerate(folds) for key in keys}
        record.parent.mkdir(exist_ok=True)
        write_json(record, {"asked": asked, "steps": steps, "trained": trained, "folds": fold_of})
        fits = Fits(
            self.folder / WORK / "fits",
            pictures,
            self.settings,
            steps=steps,
            listener=self.listener,
            begin=partial(self._tell_plan, costs, trained, steps=steps, folds=len(folds)),
        )
        return CrossValidation(folds, contenders, fits, trained=trained)

    def _plan(self, costs: tuple[float, float], folds: int) -> tuple[int, int]:
        """Return how many steps to train, and how many candidates, within the budget."""
        limits = self.settings.limits
        seconds = limits.minutes * 60 * _USED - _STARTING - (time.perf_counter() - self.started)
        step, images = costs
        for trained in range(limits.candidates, 0, -1):
            trainings = fit_count(trained, folds)
            left = seconds - trained * _COMPILING - trained * folds * images
            steps = int(left / (step * trainings))
            if steps >= limits.fewest_steps:
                break
        return int(np.clip(steps, limits.fewest_steps, limits.steps)), trained

    def _tell_plan(
        self, costs: tuple[float, float], trained: int, kept: int, *, steps: int, folds: int
    ) -> None:
        trainings = fit_count(trained, folds) - kept
        step, images = costs
        seconds = trainings * steps * step + trained * (_COMPILING + folds * images)
        self.listener.planned(trainings * steps, seconds)

    def _costs(self, pictures: Pictures, contenders: Contenders) -> tuple[float, float]:
        """Return the seconds that a step and predicting all images take, about."""
        sizes = [one.image_size for one in contenders.best_sizes(list(pictures.groups))]
        size = max(sizes + [one.image_size for one in contenders.new_heads])
        model = load_start(next(iter(contenders.cards)), pictures.objects)
        images = pictures.at(size).images[:16]
        predict(model, images)
        started = time.perf_counter()
        predict(model, images)
        one = (time.perf_counter() - started) / len(images)
        step = one * _TRAINING_COST * self.settings.optimization.batch_size
        return step, one * len(pictures.at(size))

    def _choose(self, validation: CrossValidation) -> tuple[Chosen, Estimate, LearningCurve | None]:
        folds = len(validation.folds)
        self.listener.phase("choosing and testing in every fold")
        worth = estimate(
            validation, lambda done: self.listener.note(f"fold {done} of {folds} is tested")
        )
        chosen = validation.choose(range(folds))
        return chosen, worth, learning_curve(validation, chosen)


def _write(answer: Answer, folder: Path) -> None:
    write_text(folder / "answer.md", as_markdown(answer))
    write_text(folder / "report.html", as_html(answer))
    if answer.estimate is not None:
        write_text(folder / "cases.csv", as_csv(answer.estimate))
        pictures = [picture for _, picture in worst_pictures(answer)]
        write_png(folder / "failures.png", np.vstack(_same_width(pictures)), mark=MARK)
    write_json(folder / ANSWER, answer.as_dict())


def _same_width(pictures: Sequence[np.ndarray]) -> list[np.ndarray]:
    widest = max(picture.shape[1] for picture in pictures)
    return [np.pad(p, ((0, 0), (0, widest - p.shape[1]), (0, 0))) for p in pictures]


def _gone(evaluations: Sequence[models.RecordedEvaluation]) -> str:
    names = ", ".join(dict.fromkeys(one.data.name for one in evaluations))
    return (
        f"evaluations on {names} were recorded for the earlier model and are gone with it, because "
        "the new one has other weights; evaluate --record measures it"
    )


def require_name(name: str, settings: AdaptSettings, folder: Path, *, data: DataSet) -> None:
    """Refuse a name before an adaptation that `registered` would refuse after it."""
    is_same = AdaptDirectory(folder).is_answered(record_of(settings, data))
    models.check_name(name, folder / MODEL if is_same else None)


def registered(name: str, half_precision: bool, answer: Answer) -> Path:
    """Register the model of an answer under a name.

    Raises:
        ValueError: There is no model, or the name cannot be used.
    """
    if answer.model is None:
        raise ValueError(f"{answer.directory}: no model was made, so none can be registered")
    return models.register(answer.model, name, half_precision)


def _save_final_model(
    path: Path,
    data: DataSet,
    chosen: Chosen,
    *,
    settings: AdaptSettings,
    worth: Estimate,
    validation: CrossValidation,
) -> None:
    """Write the final model and its card, which counts every annotated image as seen.

    Args:
        path: The `.keras` file.
        data: The annotated cases.
        chosen: What to train.
        settings: Of the adaptation.
        worth: What it is worth; its metrics go on the card.
        validation: The folds, and what was trained.
    """
    candidate = chosen.candidate
    if candidate.is_untouched:
        model = load_start(candidate.start, data.objects)
    elif settings.ensemble:
        model = averaged([*_of_folds(candidate, validation)])
    else:
        keys = sorted(case.key for case in data.cases)
        model = plain_copy(validation.fits.model(candidate, keys))
    models.save(model, path, _card(settings, data, chosen, worth=worth, validation=validation))


def _of_folds(candidate: Candidate, validation: CrossValidation) -> Iterator[keras.Model]:
    """Yield the model of each fold, which was trained on all others."""
    for fold in range(len(validation.folds)):
        training = validation.keys(validation.outside(fold))
        yield plain_copy(validation.fits.model(candidate, training))


def _card(
    settings: AdaptSettings,
    data: DataSet,
    chosen: Chosen,
    *,
    worth: Estimate,
    validation: CrossValidation,
) -> ModelCard:
    candidate, note = chosen.candidate, DataNote.of(data)
    run = settings.of_run(
        candidate.strategy, candidate.start, candidate.image_size, steps=validation.fits.steps
    )
    folds = len(validation.folds)
    what = f"average of {folds} U-Nets" if settings.ensemble else "U-Net"
    card = ModelCard(
        title=f"{what} adapted to {data.name}, {candidate.strategy}",
        strategy=candidate.strategy,
        init=short_name(candidate.start),
        data=note,
        evaluation_data=note,
        split="",
        image_size=candidate.image_size,
        threshold=chosen.threshold,
        training_cases=0 if candidate.is_untouched else len(data),
        metrics=worth.evaluation.summary,
        settings={**without_paths(run, data=data.name), "cross_validation": folds},
        objects=data.objects.names if data.objects.several else (),
    )
    return with_seen(card, run, data.cases, judged=())
