"""The command line: `kerasunet VERB …`; verbs that are one topic share a module.

Every verb is started here: what it may write is checked first, and what it raises becomes one line.
"""

from __future__ import annotations

import argparse
import errno
import importlib
import inspect
import io
import itertools
import os
import re
import signal
import sys
import threading
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any

from kerasunet import (
    data as data_sets,  # `data` and `models` are modules of this package.
    models as registry,
)
from kerasunet.cli.options import condensed, printable, require_as_written, unless_changed
from kerasunet.files import expanded, is_marked, is_plain, read_json, require_replaceable
from kerasunet.runs.directory import RECORDS, RunDirectory

__all__ = ["main"]
VERBS = {
    "adapt": "find the best start and layers for your images, and make the model",
    "pretrain": "train a U-Net on natural images",
    "finetune": "fine-tune chosen layers on your images",
    "study": "compare every strategy on your images, with statistics",
    "claims": "check the paper's claims against studies: means, comparisons, verdicts",
    "report": "write figures and an HTML page about one or more studies",
    "panel": "draw predictions of saved models on typical, best and worst cases",
    "evaluate": "measure a saved model on image/mask pairs",
    "predict": "segment images: masks, overlays and a table of areas",
    "export": "export a saved model for ONNX Runtime, OpenVINO, LiteRT and others",
    "next": "rank images without a mask by what annotating them would teach",
    "push": "write a model as a Hugging Face Hub repository, to a folder or to the Hub",
    "compare": "print a table of finished fine-tuning runs",
    "check": "find every mistake in a data set before training",
    "show": "show pairs on a contact sheet or layers in a table, or overfit one batch",
    "models": "list the saved models",
    "cache": "show or remove the decoded images kept on disk",
    "demo": "compare all strategies on your own image, in the browser",
}
_MODULES = {
    "adapt": "training",
    "finetune": "training",
    "pretrain": "training",
    "claims": "study",
    "report": "study",
    "panel": "evaluation",
    "evaluate": "evaluation",
    "push": "models",
    "export": "models",
    "compare": "models",
    "demo": "models",
    "check": "data",
    "show": "data",
    "cache": "data",
    "next": "data",
}
"""Modules of verbs that share one; others have one of their name."""
_USER_ERRORS = (ValueError, OSError, FloatingPointError)
_REMEDIES = {
    errno.ENAMETOOLONG: "; give a shorter name",
    errno.ENOENT: "; check the spelling, or create it first",
    errno.EACCES: "; change its permissions, or choose another place",
}
_LOST = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO)
_FAULT = "this is a bug in kerasunet; run the command again with --debug and report the output"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line.

    Args:
        arguments: Arguments after the program's name; `None` takes them from the process.

    Returns:
        Exit status: 0 done, 1 faults found (`check`), 2 wrong arguments or input, 3 a bug of this
        program, 130 interrupted, 141 the reader of the output has gone, 143 terminated.
    """
    _open_closed_streams()
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # File names need not be text.
            stream.reconfigure(errors="backslashreplace")
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    verb = arguments[0] if arguments else ""
    if verb not in VERBS:
        return _overview(arguments)
    came: list[int] = []
    try:
        with warnings.catch_warnings(), _ended_in_order(came):
            warnings.showwarning = partial(_warn, warnings.showwarning)
            status = _run(verb, arguments[1:])
    except KeyboardInterrupt:  # Just before or after what `_run` watches.
        status = 130
    if status == 130:
        # Where it passed text that was compiled, as of dataclasses, Python would end by SIGINT.
        exec("")
    return 143 if came and status == 130 else status


def _open_closed_streams() -> None:
    """Send closed standard streams nowhere; else files get their numbers, and libraries' notes."""
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            stream = open(os.devnull, mode, encoding="utf-8")  # noqa: SIM115 - until the end.
            os.set_inheritable(stream.fileno(), True)
            setattr(sys, name, stream)


@contextmanager
def _ended_in_order(came: list[int]) -> Iterator[None]:
    """Make SIGTERM end a verb as Ctrl-C does: restore the cursor and say what is kept.

    Args:
        came: Receives the signals.
    """

    def stop(number: int, _: Any) -> None:
        came.append(number)
        raise KeyboardInterrupt

    is_main = threading.current_thread() is threading.main_thread()
    if not is_main or signal.getsignal(signal.SIGTERM) != signal.SIG_DFL:
        yield
        return
    signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)


def _run(verb: str, words: Sequence[str]) -> int:
    debug = "--debug" in words
    try:
        module = importlib.import_module(f"kerasunet.cli.{_MODULES.get(verb, verb)}")
        _require_values(words)
        options = _parser(verb, module).parse_args(words)
        check_outputs(verb, options, getattr(module, f"{verb}_marks", dict))
        with unless_changed(getattr(options, name, None) for name in _OUTPUTS):
            status = getattr(module, f"run_{verb}")(options) or 0
        sys.stdout.flush()  # While an error of the system can still be told.
        return status
    except KeyboardInterrupt as stop:  # Who has kept something says so.
        print("; ".join(["stopped", *map(printable, map(str, stop.args))]), file=sys.stderr)
        return 130
    except BrokenPipeError:  # The reader, such as `head`, has seen enough.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    except _USER_ERRORS as error:
        return _refuse(error, _message(error), 2, debug=debug)
    except UserWarning as warning:  # `python -W error` makes them errors.
        return _refuse(
            warning, f"{warning} (a warning, which -W error makes an error)", 2, debug=debug
        )
    except MemoryError as error:
        return _refuse(error, "out of memory; use smaller or fewer images", 2, debug=debug)
    except Exception as error:
        return _refuse(error, f"{type(error).__name__}: {error}; {_FAULT}", 3, debug=debug)


def _require_values(words: Sequence[str]) -> None:
    """Refuse empty values, such as those of unset variables: as a path, they mean this folder."""
    for option, value in itertools.pairwise(["", *words]):
        if not value.strip() or (value.startswith("--") and value.endswith("=")):
            name = option if option.startswith("--") else value.strip().rstrip("=")
            raise ValueError(
                f"{name or 'an argument'}: the value is empty; give one, or leave out the option"
            )


def _parser(verb: str, module: ModuleType) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog=f"kerasunet {verb}",
        description=inspect.getdoc(getattr(module, f"run_{verb}")),
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog=getattr(module, f"{verb.upper()}_EPILOG", None),
    )
    getattr(module, f"add_{verb}_arguments")(parser)
    parser.add_argument("--debug", action="store_true", help="show the traceback of an error")
    return parser


def _message(error: Exception) -> str:
    """Return the words for an error; those of the system start with the file, then the cause."""
    if isinstance(error, OSError) and error.errno in _LOST and _is_output_lost():
        return f"standard output: cannot be written: {error.strerror}; redirect it to another place"
    if isinstance(error, OSError) and error.filename and str(error).startswith("[Errno"):
        remedy = _REMEDIES.get(error.errno or 0, "")
        return f"{error.filename}: {error.strerror}{remedy}"
    if isinstance(error, FileNotFoundError) and not error.filename and error.errno == errno.ENOENT:
        return "the current folder is gone: removed or renamed; change to another one"
    return str(error)


def _is_output_lost() -> bool:
    """Return whether standard output cannot be written; if so, give up what is left to print."""
    try:
        sys.stdout.flush()
        os.write(sys.stdout.fileno(), b"\n")  # What could not be written may have been dropped.
    except io.UnsupportedOperation:  # Somebody collects what is printed.
        return False
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return True
    return False


def _refuse(error: Exception, message: str, status: int, *, debug: bool) -> int:
    if debug:
        raise error
    print("error:", "\n".join(condensed(printable(message).split("\n"))), file=sys.stderr)
    return status


def _warn(others: Callable[..., None], message: Any, category: type, *place: Any) -> None:
    """Show a warning that is meant for users as one line; pass those for programmers on."""
    if issubclass(category, UserWarning):
        print(f"warning: {printable(str(message))}", file=sys.stderr)
    else:
        others(message, category, *place)


def _overview(arguments: Sequence[str]) -> int:
    from kerasunet import __version__

    if arguments and arguments[0] == "--version":
        print(f"kerasunet {__version__}")
        return 0
    asked = bool(arguments) and arguments[0] in ("-h", "--help")
    lines = ["usage: kerasunet VERB [options]", ""]
    lines += [f"  {verb:<10} {purpose}" for verb, purpose in VERBS.items()]
    lines += ["", "kerasunet VERB --help lists the options of a verb."]
    if arguments and not asked:
        lines.insert(0, f"error: {arguments[0]}: no such verb")
    print("\n".join(lines), file=sys.stdout if asked else sys.stderr)
    return 0 if asked else 2


_FILES = ("csv", "groups", "html", "json", "sheet")
_OUTPUTS = ("output", *_FILES)
_LISTS = ("predictions.json", "report.json")
"""Records of what is in a folder, and of what a killed command had begun to write."""
_MODEL = ("model.keras", "model.json", "model.md")
_OWN_FILES = {
    "study.json": ("cases.csv", "runs.csv", "report.html", "report.json", *_MODEL),
    "adapt.json": (*_MODEL, "check.html", "pairs.png", "answer.md", "report.html", "cases.csv",
                   "failures.png", "answer.json"),
}  # fmt: skip
"""What a study and an adaptation write beside their records, or will write once they go on."""
_STUDY_TABLE = b"data,strategy,"
"""How the tables of studies begin, which go on with the columns of an evaluation."""
_PASSING = re.compile(r"\.(earlier-run|earlier|(writing|exporting)-.*|.*\.written)")
"""Names of what is written while a command runs, and removed at its end or by the next one."""
_INPUTS = ("data", "validation_data", "manual_dir")


def check_outputs(
    verb: str, options: argparse.Namespace, marks: Callable[[], Mapping[str, bytes]] = dict
) -> None:
    """Refuse paths where nothing could be written, or where something else would be replaced.

    Args:
        verb: The verb.
        options: What was given.
        marks: Returns, by name of an option, bytes that begin every file that the verb writes
            there, or stand near its beginning.

    Raises:
        FileExistsError: A file is in the way of a folder, or a folder of a file; or a file holds
            something that this verb did not write.
    """
    given = {name: getattr(options, name, None) for name in _OUTPUTS}
    paths = {name: expanded(path) for name, path in given.items() if isinstance(path, Path)}
    for name, path in paths.items():
        setattr(options, name, path)  # A folder that is called ~ would be a trap.
        is_file = name in _FILES or verb == "panel" or _exports_a_file(verb, options)
        _check_output(path, is_file)
        if verb == "export" and not path.with_suffix(".keras").exists():
            _check_owner(path.with_suffix(".json"))  # Of the export.
        if is_file and path.exists():
            _check_replaced(path, marks().get(name))
        if is_file:
            _check_owner(path)
        if not is_file:
            registry.require_elsewhere(path)
        if verb != "export":  # No reader takes a model for data; the library says where it may be.
            _check_outside(path, is_file, options)
    if getattr(options, "save_as", None) is not None:
        _check_output(registry.folder(), is_file=False)
    if len({path.resolve() for path in paths.values()}) < len(paths):
        raise ValueError(f"{path}: named for two outputs; give each its own name")


def _exports_a_file(verb: str, options: argparse.Namespace) -> bool:
    return verb == "export" and options.format != "savedmodel"


def _check_outside(path: Path, is_file: bool, options: argparse.Namespace) -> None:
    """Refuse outputs that would be taken for part of given data, or of data around them."""
    images = getattr(options, "images", None)
    data_sets.require_outside(
        path,
        [getattr(options, name, None) for name in _INPUTS],
        images=images if isinstance(images, list) else (),  # Of other verbs a number.
        is_file=is_file,
    )


def _check_output(path: Path, is_file: bool) -> None:
    if not is_plain(str(path)):
        raise ValueError(
            f"{str(path)!r}: has characters that are not text here; give another name, or use a "
            "UTF-8 locale, such as LC_ALL=C.UTF-8"
        )
    if any(map(_PASSING.fullmatch, path.parts)):
        raise ValueError(f"{path}: this package removes what has such a name; give another name")
    if is_file and path.is_dir():
        raise FileExistsError(f"{path}: is a folder; give the name of a file")
    if not is_file and path.is_symlink() and not path.exists():
        raise FileExistsError(f"{path}: is a link to nothing; remove it, or make what it leads to")
    if not is_file and path.exists() and not path.is_dir():
        raise FileExistsError(f"{path}: is a file; give a folder, or the name of a new one")
    above = next(parent for parent in path.absolute().parents if parent.exists())
    if not above.is_dir():
        raise FileExistsError(
            f"{above}: is a file, so nothing can be written below it; choose another place"
        )


def _check_owner(path: Path) -> None:
    """Refuse a file that another command writes in its folder, or is about to.

    A link is written through, so neither it nor what it leads to may be such a file.
    """
    for given in (path, path.resolve()):
        run = RunDirectory(given.parent)
        if run.has_record and run.writes(given):
            owner = f"is a file of the run in {run.path}"
        elif record := next((r for r, of in _OWN_FILES.items() if _is_of(given, r, of)), None):
            owner = f"is a file of {RECORDS[record]} there"
        elif folder := _lists(given.absolute()):
            owner = f"is listed in {folder}"
        else:
            continue
        raise FileExistsError(f"{path}: {owner}; give another name")


def _is_of(path: Path, record: str, names: Sequence[str]) -> bool:
    return path.name in (record, *names) and path.with_name(record).is_file()


def _lists(path: Path) -> Path | None:
    """Return the record of predictions or of a report that a file belongs to, if it does."""
    for folder, record in itertools.product(path.parents[:2], _LISTS):
        with suppress(OSError, ValueError, LookupError, TypeError):
            if path.relative_to(folder).as_posix() in read_json(folder / record)["files"]:
                return folder / record
    return None


def _check_replaced(path: Path, mark: bytes | None) -> None:
    if not path.is_file():
        raise FileExistsError(f"{path}: is a device or the like; give the name of a file")
    require_replaceable(path)
    require_as_written(path)
    real = path.resolve()
    run = RunDirectory(real.parent)
    with path.open("rb") as file:
        is_of_study = file.readline().startswith(_STUDY_TABLE)
    if is_of_study or (real == run.cases and run.summary.is_file()):
        what = "study" if is_of_study else "run"
        raise FileExistsError(f"{path}: is the table of a {what}; give another file")
    if mark is not None and not is_marked(path, mark):
        raise FileExistsError(
            f"{path}: holds something that this command did not write; give another file, or move "
            "it away"
        )
