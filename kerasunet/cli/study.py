"""The verbs about studies: `study` runs one, `claims` and `report` present its results."""

from __future__ import annotations

import argparse
import contextlib
import shlex
import time
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kerasunet import models
from kerasunet.backend import start_backend, without_collection
from kerasunet.cli import options as shared
from kerasunet.data.augmentation_settings import PRESETS
from kerasunet.metrics import WITHOUT_SPACING, unit_in_words
from kerasunet.runs.directory import exclusive
from kerasunet.schema import Option, declared
from kerasunet.strategies import describe_grammar
from kerasunet.study.plan import STRATEGIES, StudySettings, distinct_strategies
from kerasunet.training.settings import FinetuneSettings

if TYPE_CHECKING:
    from kerasunet.study.stats import StudyStatistics


STUDY_EPILOG = (
    "strategies, besides none and scratch; shallow:*, deep:*, outer:* and inner:* stand for every "
    f"K:\n{describe_grammar()}"
)
_RATES = (3e-4, 1e-3, 3e-3)
_VARIED = ("layers", "train_size", "fold", "validation_size")
_TRAIN_SIZES = Option(
    "numbers of training images (20, or all if there are fewer)",
    int,
    1,
    maximum=10_000_000,
    metavar="N",
)
_SEEDS = Option("number of seeds", int, 1, maximum=1000, metavar="N")
_ONLY_FOLDS = Option("folds to run now, numbered from 0", int, 0, maximum=1000, metavar="F")
_LR_SEARCH = Option(
    "choose the learning rate of each run on the validation images (3e-4 1e-3 3e-3)",
    float,
    metavar="RATE",
)


def add_study_arguments(parser: argparse.ArgumentParser) -> None:
    default = StudySettings()
    add = parser.add_argument
    shared.add_settings(parser, default.run, without=_VARIED)
    add("--strategies", nargs="+", default=list(STRATEGIES), metavar="S", help=" ".join(STRATEGIES))
    shared.add_option(parser, "train_sizes", _TRAIN_SIZES, nargs="+")
    shared.add_option(parser, "seeds", _SEEDS, default=1)
    shared.add_option(parser, "only_folds", _ONLY_FOLDS, nargs="+")
    size = declared(FinetuneSettings)["validation_size"]
    help_ = "validation images (0; auto with --lr-search: a fifth, at most 20)"
    shared.add_option(parser, "validation_size", replace(size, help=help_, none=None))
    shared.add_option(parser, "lr_search", _LR_SEARCH, nargs="*")
    add("--output", type=Path, help="study directory (default: runs/study-DATA)")
    add("--plan", action="store_true", help="print the plan and the estimate, and run nothing")
    add("--no-estimate", action="store_true", help="start without timing a trial")
    add("--retry-failed", action="store_true", help="rerun failed runs")
    add("--final", action="store_true", help="at the end, train the best strategy on all images")
    add("--no-report", action="store_true", help="write no figures and no report at the end")
    _add_executor(parser)
    shared.add_optimization(parser, default.run.optimization)


def _add_executor(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("where runs are executed")
    add = group.add_argument
    add("--executor", default="local", help="local, dask or ray (local)")
    add("--address", help="scheduler of a running cluster, such as tcp://host:8786")
    shared.add_option(
        group, "workers", Option("runs at a time", int, 1, maximum=1000, metavar="N"), default=1
    )
    gpus = Option("GPUs to distribute, one per worker", int, 0, maximum=1000, metavar="N")
    shared.add_option(group, "gpus", gpus, default=0)


def run_study(options: argparse.Namespace) -> int:
    """Find out which layers to fine-tune: every strategy on the same folds, with statistics.

    Prints the plan and an estimate of its time, then runs it. If it is stopped or killed, the same
    command resumes it; strategies, sizes, folds and seeds may be added later.
    """
    directory = options.output or Path("runs") / f"study-{Path(options.data).name}"
    settings = _settings(options)
    if models.is_registered(settings.run.init):  # Their card alone says what is wrong.
        layout = models.card(settings.run.init).architecture.layout()
        distinct_strategies(settings.strategies, layout)
    if settings.run.init != "scratch":
        models.check(settings.run.init)
    with contextlib.nullcontext() if options.plan else exclusive(directory):
        return _run(options, settings, directory)


def _run(options: argparse.Namespace, settings: StudySettings, directory: Path) -> int:
    from kerasunet.study.execution import Executor, open_study, plan_study

    if options.final and not options.plan:
        start_backend()
        from kerasunet.study.final_model import require_free

        require_free(directory)
    if is_reported := not (options.no_report or options.plan):
        from kerasunet.study import report

        report.require_free(directory)
    study = (plan_study if options.plan else open_study)(settings, directory)
    _print_plan(study, options)
    if options.plan:
        return 0
    executor = Executor(options.executor, options.workers, options.address, gpus=options.gpus)
    failures = _execute(study, executor, options.retry_failed)
    if is_reported and study.tables.finished():
        print(f"report      {report.write_report(directory)}")
    print(f"tables      {directory / 'cases.csv'}, {directory / 'runs.csv'}")
    if study.tables.finished():
        _print_answer(study, options.final)
    return 1 if failures else 0


def _print_answer(study, final: bool) -> None:
    """Print the answer in words, and make the final model if it is wanted."""
    from kerasunet.study.report import closing
    from kerasunet.study.results import read_results
    from kerasunet.study.stats import StudyStatistics

    statistics = StudyStatistics(read_results([study.directory]))
    print(shared.printable("\n".join(["", *closing(statistics)])), flush=True)
    if not final:
        with contextlib.suppress(ValueError):  # None is fixed.
            text = statistics.best_fixed(statistics.results.largest_scenarios[0])
            count = f"all {study.record['data']['cases']:,} images"
            print(f"--final trains {text} on {count} and saves {study.directory}/model.keras")
        return
    from kerasunet.study.final_model import train_final_model

    card = models.card(path := train_final_model(study))
    print(f"model       {path}, {card.strategy}, trained on {card.training_cases:,} images")
    print(f"use it      kerasunet predict {shlex.quote(str(path))} YOUR_IMAGES --output masks")


def _settings(options: argparse.Namespace) -> StudySettings:
    rates = options.lr_search
    if options.validation_size is None:
        options.validation_size = 0 if rates is None else None
    return StudySettings(
        run=FinetuneSettings(
            **shared.values_of(options, FinetuneSettings),
            train_size=None,
            optimization=replace(shared.optimization(options), seed=0),
            augmentation=PRESETS[options.augmentation],
        ),
        strategies=tuple(options.strategies),
        train_sizes=options.train_sizes or (),
        seeds=tuple(range(options.seed, options.seed + options.seeds)),
        only_folds=options.only_folds,
        learning_rates=() if rates is None else rates or _RATES,
    )


def _print_plan(study, options: argparse.Namespace) -> None:
    settings = study.settings
    strategies = tuple(dict.fromkeys(run.strategy for run in study.planned))
    still = study.open_runs(options.retry_failed)
    print(f"study       {study.directory}/")
    data = study.record["data"]
    print(f"data        {data['name']} ({data['layout']}): {data['cases']:,} cases")
    print(f"groups      {data['groups']}, over which intervals are computed")
    if "unannotated" in data:
        print(f"no mask     {data['unannotated']}, left out; kerasunet check lists them")
    if "unread" in data:
        print(f"not read    {data['unread']}; kerasunet check lists them")
    if WITHOUT_SPACING in data:
        print(f"distances   {unit_in_words({'unit': 'px', 'n': data['cases'], **data})}")
    print("folds      ", *settings.folds, f"of {settings.run.folds}")
    print(f"strategies  {len(strategies)}: {' '.join(strategies)}")
    print("training   ", *settings.train_sizes, f"images, seeds: {len(settings.seeds)}")
    print(f"runs        {len(study.planned)}, of which {len(still)} remain")
    if (failed := study.tables.failed()) and not options.retry_failed:
        print(f"failed      {len(failed)}, left as they are; --retry-failed runs them again")
    if still and not options.no_estimate:
        print(f"time        {_time_left(study, options)}", flush=True)


def _time_left(study, options: argparse.Namespace) -> str:
    """Return the time in words; a failed trial stops nothing, as other runs may well work."""
    from kerasunet.study.execution import estimate_seconds

    try:
        return f"about {_duration(estimate_seconds(study, options.workers, options.retry_failed))}"
    except RuntimeError as error:
        return f"unknown, the trial failed: {error}"


def _execute(study, executor, retry_failed: bool) -> int:
    """Run what is open, with a line per run, and return the number of failures."""
    from kerasunet.study.execution import run_study

    total = len(study.open_runs(retry_failed))
    started = time.monotonic()
    done = failures = 0

    def tell(planned, result) -> None:
        nonlocal done, failures
        done += 1
        failures += isinstance(result, str)
        left = (time.monotonic() - started) / done * (total - done)
        where = f"fold {planned.fold}, {planned.train_size} images, {planned.strategy}"
        print(f"[{done}/{total}] {where}: {_outcome(result)}; {_duration(left)} left", flush=True)

    try:
        run_study(study, executor, retry_failed, on_result=tell)
    except KeyboardInterrupt:
        kept = f"{done} of these runs are kept in {study.directory}"
        raise KeyboardInterrupt(f"{kept}; the same command resumes the study") from None
    return failures


def _outcome(result) -> str:
    if isinstance(result, str):
        return f"FAILED: {result}"
    dice = [float(case["dice"]) for case in result.cases]
    note = f" ({result.run['note']})" if result.run["note"] else ""
    return f"Dice {sum(dice) / len(dice):.3f} on {len(dice)} cases{note}"


def _duration(seconds: float) -> str:
    minutes = round(seconds / 60)
    if minutes < 1:
        return f"{round(seconds)} s"
    return f"{minutes} min" if minutes < 120 else f"{minutes / 60:.1f} h"


def add_claims_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("studies", nargs="+", type=Path, metavar="STUDY", help="study directories")
    add("--object", metavar="NAME", help="report only this of several objects (each, and the mean)")
    add("--markdown", action="store_true", help="print the tables in Markdown, for a document")
    add("--json", type=Path, metavar="FILE", help="also write everything as JSON")


def claims_marks() -> dict[str, bytes]:
    return {"json": b'{\n  "summary": ['}


def run_claims(options: argparse.Namespace) -> int:
    """Check the paper's claims on finished studies: means, paired comparisons, verdicts.

    Unfinished studies may be given too: claims that lack runs are named and stay undecided. Give an
    ultrasound and an X-ray study together to compare the two.
    """
    from kerasunet.files import write_json
    from kerasunet.study.report_tables import markdown_document
    from kerasunet.study.results import read_results
    from kerasunet.study.stats import StudyStatistics, seen_by_starts

    results = read_results(options.studies, results_required=options.markdown)
    if options.object is not None:
        results = results.of(options.object)
    statistics = StudyStatistics(results)
    if options.markdown:
        print(markdown_document(statistics))
    else:
        print("\n\n".join([*_all_sections(statistics), *seen_by_starts(results)]))
    if options.json:
        write_json(options.json, _content(statistics))
    return 0


def _all_sections(statistics: StudyStatistics) -> list[str]:
    """Return the sections of the mean over objects, and those of each of several objects."""
    if not statistics.of_objects:
        return _sections(statistics)
    sections = [f"Mean of {', '.join(statistics.of_objects)}", *_sections(statistics)]
    for name, one in statistics.of_objects.items():
        sections += [f"Object: {name}", *_sections(one)]
    return sections


def _content(statistics: StudyStatistics) -> dict[str, Any]:
    """Return everything for JSON; where there are several objects, that of each by its name."""
    each = {name: _content(one) for name, one in statistics.of_objects.items()}
    return {**_tables(statistics), **({"objects": each} if each else {})}


def _tables(statistics: StudyStatistics) -> dict[str, list]:
    return {
        "summary": statistics.summary.to_dict("records"),
        "comparisons": [asdict(comparison) for comparison in statistics.comparisons],
        "claims": [asdict(claim) for claim in statistics.claims],
        "auto": statistics.auto.to_dict("records"),
    }


def _sections(statistics: StudyStatistics) -> list[str]:
    """Return the tables and the claims; tables without rows are left out."""
    means = map(_summary_row, _rows(statistics.summary))
    auto = map(_auto_row, _rows(statistics.auto))
    sets = "training sets and " if any(s.disjoint for s in statistics.results.studies) else ""
    sections = [
        _table(f"Dice, mean over cases (95 % interval over {sets}groups of cases)", means),
        _table("Paired comparisons", map(_comparison_row, statistics.comparisons)),
        _table("Automatic choice against fixed strategies", auto),
        "\n".join(["Claims", *map(_claim_text, statistics.claims)]),
    ]
    return [section for section in sections if "\n" in section]


def _rows(frame) -> list:
    return list(frame.itertuples(index=False))


def _summary_row(row) -> dict[str, str]:
    return {
        "data": row.data,
        "images": str(row.train_size),
        "strategy": row.strategy,
        "runs": str(row.runs),
        "cases": str(row.cases),
        "Dice": shared.estimate(row.mean, row.low, row.high, form=".4f"),
        "missed": f"{row.missed:g}",
    }


def _comparison_row(row) -> dict[str, str]:
    return {
        "data": row.data,
        "images": str(row.train_size),
        "first - second": f"{row.first} - {row.second}",
        "difference": shared.estimate(row.difference, row.low, row.high, form="+.4f"),
        "p": f"{row.p_value:.2g}",
        "p (Holm)": f"{row.p_adjusted:.2g}",
        "effect": f"{row.effect_size:+.2f}",
        "better/worse/same": f"{row.wins}/{row.losses}/{row.ties}",
    }


def _auto_row(row) -> dict[str, str]:
    return {
        "data": row.data,
        "images": str(row.train_size),
        "strategy": row.auto,
        "Dice": f"{row.mean:.4f}",
        "best": f"{row.best} {row.best_mean:.4f}",
        "worst": f"{row.worst} {row.worst_mean:.4f}",
        "behind best": shared.estimate(row.regret, row.regret_low, row.regret_high, form="+.4f"),
        "worst to best": f"{row.share:.0%}",
        "chosen": row.chosen,
    }


def _claim_text(claim) -> str:
    return f"{claim.verdict:<13} {claim.name}\n  {claim.statement}\n  {claim.explanation}"


def _table(title: str, rows) -> str:
    """Return aligned columns under a title; the title alone where there are no rows."""
    rows = list(rows)
    if not rows:
        return title
    names = list(rows[0])
    lines = [names, *(list(row.values()) for row in rows)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    text = ["  ".join(map(str.ljust, line, widths)).rstrip() for line in lines]
    return "\n".join([title, *text])


def add_report_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("studies", nargs="+", type=Path, metavar="STUDY", help="study directories")
    add("--output", type=Path, help="folder (default: the study directory, if there is only one)")
    add(
        "--pictures",
        nargs="+",
        type=Path,
        default=[],
        metavar="PNG",
        help="pictures to show in the report, as kerasunet panel draws them",
    )


def run_report(options: argparse.Namespace) -> int:
    """Write the report of a study, or of several together: one HTML file, figures, tables.

    Works on unfinished studies too: it states their progress, and leaves out what cannot be drawn.
    """
    with without_collection():
        from kerasunet.study.report import write_report

    path = write_report(options.studies, options.output, options.pictures)
    print(f"report      {path}")
    print(f"figures     {path.parent / 'figures'}/")
    print(f"tables      {path.parent / 'tables'}/")
    return 0
