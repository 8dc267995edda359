"""The answer of an adaptation, in words and as values."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from kerasunet.adapt.candidates import Candidate
from kerasunet.adapt.cross_validation import (
    USUAL_THRESHOLD,
    Case,
    Chosen,
    Estimate,
    Expected,
    LearningCurve,
)
from kerasunet.adapt.settings import SMALLEST
from kerasunet.adapt.starts import LeftOut, NewHead, Untouched, short_name
from kerasunet.adapt.survey import Survey

_WORST = 5
_SMALL_GAIN = 0.005
_HARD = 0.5
"""Dice below which a case counts as failed."""


@dataclass(frozen=True, eq=False)
class Answer:
    """What to tune, from which start, what to expect, and where the model is.

    Attributes:
        directory: Holds everything.
        survey: What the folder holds.
        untouched: What each start finds without training, at each size.
        left_out: Starts that are not used, and why.
        chosen: The choice from all annotated images; `None` with too few images to train.
        estimate: What it is worth on new patients; `None` likewise.
        curve: What more images would bring.
        model: The final model.
        steps: Optimizer steps of each training.
        is_ensemble: Whether the model averages those of the folds.
        changes: What is different from the last answer in this directory.
        minutes: Time that this took.
        new_heads: The starts that mark other objects.
        unlike: By start, how the images differ from those that it was trained on.
    """

    directory: Path
    survey: Survey
    untouched: tuple[Untouched, ...]
    left_out: tuple[LeftOut, ...]
    chosen: Chosen | None
    estimate: Estimate | None
    curve: LearningCurve | None
    model: Path | None
    steps: int
    is_ensemble: bool
    changes: tuple[str, ...] = field(default=())
    minutes: float = 0.0
    new_heads: tuple[NewHead, ...] = ()
    unlike: Mapping[str, Sequence[str]] = field(default_factory=dict)

    @property
    def keys(self) -> list[str]:
        """The keys of the annotated cases."""
        return [case.key for case in self.survey.data.cases]

    def headline(self) -> str:
        """Return the answer in a sentence."""
        if self.chosen is None:
            best = self._best_untouched()
            if best is None:
                return (
                    f"With {len(self.keys)} annotated images, nothing can be said yet: no start "
                    f"marks {self.survey.data.objects}."
                )
            return (
                f"With {len(self.keys)} annotated images, use {short_name(best.start)} untouched; "
                f"on them it reaches a Dice of {best.mean(self.keys):.2f}."
            )
        candidate = self.chosen.candidate
        start = short_name(candidate.start)
        if candidate.is_untouched:
            tried = [one.candidate for one in self.chosen.weighed if not one.candidate.is_untouched]
            if any(one.start == candidate.start for one in tried):
                return f"Use {start} untouched; tuning it did not help on these images."
            return f"Use {start} untouched."
        return f"Start from {start} and tune {candidate.strategy}."

    def _best_untouched(self) -> Untouched | None:
        return max(self.untouched, key=lambda one: one.mean(self.keys), default=None)

    def sentences(self) -> list[str]:
        """Return the answer in words, one paragraph per item."""
        parts = [self.headline(), *self._head(), *self._expected(), *self._lead()]
        parts += [*self._more_images(), *self._threshold(), *self._left_out(), *self._mind()]
        parts += [f"Since the last answer: {change}." for change in self.changes]
        return [*parts, *self._where()]

    def _expected(self) -> list[str]:
        if self.estimate is None:
            return [
                f"{len(self.keys)} images allow no more than that. With at least {SMALLEST}, in at "
                "least 2 groups, layers are tuned and the result is tested on held-out images."
            ]
        low, high = self.estimate.interval
        what = "patients" if "patient" in self.survey.groups else "images"
        mean = "mean " if self.estimate.objects else ""
        sentence = (
            f"On new {what} of this kind, expect a {mean}Dice of {self.estimate.dice.mean:.2f} "
            f"(95 % interval {low:.2f} to {high:.2f}, over {self.survey.groups})"
        )
        each = [f"{name} {_told(one)}" for name, one in self.estimate.objects.items()]
        sentence += f": {', '.join(each)}." if each else "."
        sentence += self._failed(self.estimate)
        if not self.estimate.is_nested:
            sentence += (
                " With only two groups, the choice itself was made on all images, so the interval "
                "is too narrow."
            )
        if what == "images":
            sentence += (
                " No patients are named. If any patient has several images, the estimate is too "
                "optimistic."
            )
        return [sentence]

    def _failed(self, estimate: Estimate) -> str:
        if not (failed := [case for case in estimate.cases if case.worst < _HARD]):
            return ""
        which = " with an object that" if estimate.objects else ""
        return (
            f" {len(failed)} of {len(estimate.cases)}{which} fell below {_HARD}; failures.png "
            "shows them."
        )

    def _head(self) -> list[str]:
        """Say that the head is new, where it is."""
        starts = {one.start for one in self.new_heads}
        if self.chosen is None or self.chosen.candidate.start not in starts:
            return []
        return [
            f"{short_name(self.chosen.candidate.start)} was trained on other objects, so its head, "
            f"the last layer, was trained from scratch for {self.survey.data.objects}."
        ]

    def _left_out(self) -> list[str]:
        return [
            f"{short_name(one.name)} was left out because {one.reason}; in its place "
            f"{', '.join(one.instead)} were tried, which have not seen them."
            for one in self.left_out
            if one.instead
        ]

    def _mind(self) -> list[str]:
        """Say how the images differ from those of a start of their own kind."""
        if self.chosen is None:
            return []
        kinds = {one.start: one.modality for one in self.untouched}
        kinds |= {one.start: one.modality for one in self.new_heads}
        start = self.chosen.candidate.start
        lines = self.unlike.get(start, ()) if kinds[start] == self.survey.modality else ()
        return [f"Note that {'; '.join(lines)}."] if lines else []

    def _lead(self) -> list[str]:
        if self.chosen is None or len(self.chosen.weighed) < 2:
            return []
        rival = self.chosen.weighed[1]
        how = "decided" if self.chosen.is_decided else "undecided: either may be better"
        return [
            f"According to these images and published studies together, the next best, "
            f"{rival.candidate}, is {rival.behind:.3f} Dice behind. That is {how}."
            + self._ahead_in_trials(self.chosen)
        ]

    def _ahead_in_trials(self, chosen: Chosen) -> str:
        """Say which candidate did clearly better than the chosen one on these images alone."""
        tried = [(one.trial.behind, one) for one in chosen.weighed if one.trial is not None]
        behind, best = min(tried, key=lambda pair: pair[0], default=(0.0, chosen.weighed[0]))
        if best.trial is None or -behind <= best.trial.error:
            return ""
        return (
            f" On these images alone, {best.candidate} was ahead of the choice by {-behind:.3f} "
            f"± {best.trial.error:.3f} Dice; the studies outweigh that."
        )

    def _more_images(self) -> list[str]:
        if self.curve is None:
            return []
        gain = self.curve.per_doubling
        low, high = gain.mean - 1.96 * gain.error, gain.mean + 1.96 * gain.error
        few, many = self.curve.sizes
        told = f"about {gain.mean:.2f} Dice ({low:+.2f} to {high:+.2f})"
        if gain.mean < _SMALL_GAIN:
            told = f"little for this strategy: at most {max(high, _SMALL_GAIN):.2f} Dice"
        elif low <= 0:
            told += ", perhaps nothing"
        return [
            f"Doubling to {2 * len(self.keys)} images should bring {told}, judging by the step "
            f"from {few:.0f} to {many:.0f} training images."
        ]

    def _threshold(self) -> list[str]:
        if self.chosen is None or self.chosen.threshold == USUAL_THRESHOLD:
            return []
        return [
            f"A pixel counts as foreground from a probability of {self.chosen.threshold}, which "
            "was better than 0.5 in cross-validation."
        ]

    def _where(self) -> list[str]:
        if self.model is None or self.chosen is None:
            best = self._best_untouched()
            if best is None:
                return []
            return [_use(best.start)]
        folds = len(self.estimate.by_fold) if self.estimate else 0
        made = "trained on all of them"
        if self.is_ensemble:
            made = f"the average of {folds} models, each trained without a {folds}th of the images"
        elif self.chosen.candidate.is_untouched:
            made = "the start itself, with its own card"
        return [
            f"The model is {self.model}, {made}.",
            _use(self.model),
        ]

    def as_dict(self) -> dict[str, Any]:
        """Return plain values, for `answer.json`."""
        objects = self.survey.data.objects
        return {
            "answer": self.headline(),
            "sentences": self.sentences(),
            "images": len(self.keys),
            "groups": self.survey.groups,
            **({"objects": str(objects)} if objects.several else {}),
            "unannotated": len(self.survey.data.unannotated),
            "modality": self.survey.modality,
            "starts": [
                {
                    "start": short_name(one.start),
                    "image_size": one.image_size,
                    "untouched_dice": round(one.mean(self.keys), 4),
                }
                for one in self.untouched
            ]
            + [{**vars(one), "start": short_name(one.start)} for one in self.new_heads],
            "left_out": [one.as_dict() for one in self.left_out],
            "chosen": None if self.chosen is None else chosen_as_dict(self.chosen),
            "estimate": None if self.estimate is None else _estimate(self.estimate),
            "learning_curve": None if self.curve is None else _curve(self.curve),
            "steps": self.steps,
            "ensemble": self.is_ensemble,
            "changes": list(self.changes),
            "minutes": round(self.minutes, 2),
        }

    def worst_cases(self) -> list[Case]:
        """Return the cases, worst first: by the object that was found worst."""
        cases = () if self.estimate is None else self.estimate.cases
        return sorted(cases, key=lambda case: case.worst)

    def worst_keys(self) -> list[str]:
        """Return the keys of the cases that were found worst, worst first."""
        return [case.key for case in self.worst_cases()[:_WORST]]


def _use(model: str | Path) -> str:
    """Return the sentence that says how to use a model: a command to paste."""
    return f"Use it: kerasunet predict {shlex.quote(str(model))} YOUR_IMAGES --output predictions"


def chosen_as_dict(chosen: Chosen) -> dict[str, Any]:
    """Return a choice as plain values."""
    return {
        **_candidate(chosen.candidate),
        "threshold": chosen.threshold,
        "decided": chosen.is_decided,
        "candidates": [
            {
                **_candidate(one.candidate),
                "behind": round(one.behind, 4),
                "error": round(one.error, 4),
                "studies": [round(value, 4) for value in one.evidence],
                "trials": None if one.trial is None else [round(value, 4) for value in one.trial],
                "trial_dice": None if one.trial is None else round(one.dice, 4),
            }
            for one in chosen.weighed
        ],
    }


def _candidate(candidate: Candidate) -> dict[str, Any]:
    return {**candidate._asdict(), "start": short_name(candidate.start)}


def _estimate(estimate: Estimate) -> dict[str, Any]:
    objects = {name: _expected(one) for name, one in estimate.objects.items()}
    return {
        **_expected(estimate.expected),
        **({"objects": objects} if objects else {}),
        "nested": estimate.is_nested,
        "by_fold": [
            {**_candidate(one.candidate), "threshold": one.threshold} for one in estimate.by_fold
        ],
        "metrics": estimate.evaluation.summary,
    }


def _expected(expected: Expected) -> dict[str, float]:
    values = (expected.dice.mean, *expected.interval)
    return dict(zip(("dice", "low", "high"), (round(value, 4) for value in values), strict=True))


def _told(expected: Expected) -> str:
    low, high = expected.interval
    return f"{expected.dice.mean:.2f} ({low:.2f} to {high:.2f})"


def dice_of_objects(case: Case) -> str:
    """Return the Dice of each object of a case, in parentheses; empty if there is only one."""
    if len(case.rows) < 2:
        return ""
    return f" ({', '.join('{object} {dice:.2f}'.format(**row) for row in case.rows)})"


def _curve(curve: LearningCurve) -> dict[str, Any]:
    return {
        "training_images": list(curve.sizes),
        "dice": [round(value, 4) for value in curve.dice],
        "per_doubling": round(curve.per_doubling.mean, 4),
        "error": round(curve.per_doubling.error, 4),
    }


def changes(before: dict[str, Any], after: dict[str, Any]) -> tuple[str, ...]:
    """Say in words how an answer differs from the one before it.

    Args:
        before: What `Answer.as_dict` returned then; empty if there was none.
        after: What it returns now.
    """
    if not before:
        return ()
    told: list[str] = []
    if before["images"] != after["images"]:
        told.append(f"{after['images'] - before['images']:+d} annotated images")
    if before.get("objects") != after.get("objects"):
        told.append(f"the objects were {before.get('objects', 'a single one')}")
    old, new = (_named(values["chosen"]) for values in (before, after))
    if old != new:
        told.append(f"the choice was {old}")
    if before["estimate"] and after["estimate"]:
        gain = after["estimate"]["dice"] - before["estimate"]["dice"]
        if abs(gain) >= 5e-4:
            told.append(f"the expected Dice went from {before['estimate']['dice']:.3f}")
    return tuple(told)


def _named(chosen: dict[str, Any] | None) -> str:
    if chosen is None:
        return "none"
    return str(Candidate(chosen["start"], chosen["image_size"], chosen["strategy"]))


def start_table(
    untouched: Sequence[Untouched], keys: Sequence[str], new_heads: Sequence[NewHead] = ()
) -> list[str]:
    """Return the lines of a table of the untouched starts; those of other objects have no Dice."""
    lines = [f"{'start, untouched':<24} {'image size':>10} {'Dice':>6}"]
    for one in sorted(untouched, key=lambda one: -one.mean(keys)):
        lines.append(f"{short_name(one.start):<24} {one.image_size:>10} {one.mean(keys):>6.3f}")
    for other in new_heads:
        lines.append(f"{short_name(other.start):<24} {other.image_size:>10} {'-':>6}")
    return lines + ["-: was trained on other objects; its head is trained from scratch"] * bool(
        new_heads
    )


def _ahead(behind: float, error: float) -> str:
    """Return how far a candidate is ahead; without the sign of a zero that rounding leaves."""
    return f"{0.0 - round(behind, 3):+.3f} ± {error:.3f}"


def candidate_lines(chosen: Chosen) -> list[str]:
    """Return the lines of a table of the candidates."""
    width = max(len(str(one.candidate)) for one in chosen.weighed)
    lines = [f"{'candidate':<{width}}  {'studies say':>15}  {'trials say':>15}  {'together':>15}"]
    for one in chosen.weighed:
        evidence = _ahead(one.evidence.behind, one.evidence.error)
        trial = "-" if one.trial is None else _ahead(one.trial.behind, one.trial.error)
        together = _ahead(one.behind, one.error)
        lines.append(f"{one.candidate!s:<{width}}  {evidence:>15}  {trial:>15}  {together:>15}")
    return lines
