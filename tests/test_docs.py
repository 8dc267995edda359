"""README, guides and lab notes name only what exists: files, names, links, options, numbers."""

from __future__ import annotations

import ast
import configparser
import contextlib
import importlib.util
import io
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

from kerasunet.cli import VERBS, main

ROOT = Path(__file__).parents[1]
PAGES = [
    *(ROOT / name for name in ("README.md", "CONTRIBUTING.md")),
    *sorted((ROOT / "docs").rglob("*.md")),
]
CHANGELOG = ROOT / "CHANGELOG.md"
MOST_WORDS_OF_README = 900
MOST_LINES_OF_EXAMPLE = 10

each_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))


def text_of(page: Path) -> str:
    return page.read_text(encoding="utf-8")


def blocks_of(page: Path, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", text_of(page), re.DOTALL | re.MULTILINE)


# Files and names


@each_page
def test_files_of_the_repository_exist(page):
    missing = [path for path in named_paths(text_of(page)) if not any(ROOT.glob(path))]
    assert not missing


def named_paths(text: str) -> set[str]:
    folders = "kerasunet|tests|benchmarks|scripts|saved_models|demo|docs|locks|examples"
    found = re.findall(rf"(?<![\w/.-])(?:{folders})/[\w./*-]*\w[/\w]*", text)
    return {path for path in found if "NAME" not in path and not path.endswith("/MY_SPACE")}


@each_page
def test_names_of_the_package_exist(page):
    text = re.sub(r"\w+://\S+", "", text_of(page))
    names = re.findall(r"(?<![\w/.-])kerasunet(?:\.[A-Za-z_]\w*)+", text)
    missing = [name for name in sorted(set(names)) if not exists(name)]
    assert not missing


def exists(name: str) -> bool:
    """Whether a dotted name is a module, or an attribute of one; file names are left to others."""
    if name.endswith((".md", ".yml", ".ipynb")):
        return True
    parts = name.split(".")
    for length in range(len(parts), 0, -1):
        with contextlib.suppress(ModuleNotFoundError):
            found = importlib.import_module(".".join(parts[:length]))
            return has(found, parts[length:])
    return False


def has(found, attributes: list[str]) -> bool:
    for attribute in attributes:
        if not hasattr(found, attribute):
            return False
        found = getattr(found, attribute)
    return True


@each_page
def test_imports_of_examples_exist(page):
    missing = [
        f"{node.module}.{alias.name}"
        for block in blocks_of(page, "python")
        for node in ast.walk(ast.parse(block))
        if isinstance(node, ast.ImportFrom) and node.module.startswith("kerasunet")
        for alias in node.names
        if not exists(f"{node.module}.{alias.name}")
    ]
    assert not missing


@pytest.mark.parametrize("page", ["docs/architecture.md"])
def test_functions_are_in_the_files_beside_them(page):
    row = r"^\|[^|]*\| (`[^|]+) \| (`kerasunet/[\w/]+\.py`(?:, `kerasunet/[\w/]+\.py`)*) \|$"
    rows = re.findall(row, text_of(ROOT / page), re.MULTILINE)
    assert len(rows) > 150
    wrong = []
    for names, files in rows:
        paths = [ROOT / file for file in re.findall(r"`([\w/.]+)`", files)]
        found = {
            name: [p for p in paths if defines(p, name)]
            for name in re.findall(r"`([\w.]+)`", names)
        }
        wrong += [f"{name} in {files}" for name, places in found.items() if not places]
        wrong += [f"{p}: none of {names}" for p in paths if p not in sum(found.values(), [])]
    assert not wrong


def defines(file: Path, name: str) -> bool:
    nodes = ast.parse(file.read_text(encoding="utf-8")).body
    for part in name.split("."):
        found = [node for node in nodes if part in names_of(node)]
        if not found:
            return False
        nodes = getattr(found[0], "body", [])
    return True


def names_of(node: ast.stmt) -> list[str]:
    """What a statement defines: a function, a class, or variables."""
    if isinstance(node, ast.AnnAssign):
        return [ast.unparse(node.target)]
    if isinstance(node, ast.Assign):
        return [ast.unparse(target) for target in node.targets]
    return [getattr(node, "name", "")]


def test_architecture_names_every_room():
    """Every folder and module directly in the package, but for what Python itself asks for."""
    rooms = {p for p in (ROOT / "kerasunet").iterdir() if p.is_dir() or p.suffix == ".py"}
    rooms = {p.name for p in rooms if not p.name.startswith("__")}
    table = text_of(ROOT / "docs/architecture.md").partition("## One image")[0]
    named = set(re.findall(r"`kerasunet/(\w+(?:\.py)?)/?`", table))
    assert len(rooms) > 15
    assert not rooms - named


def test_promises_name_tests_that_exist():
    named = set(re.findall(r"`(test_\w+)`", text_of(ROOT / "docs/notes/reliability.md")))
    files = sorted((ROOT / "tests").rglob("test_*.py"))
    written = {
        name for file in files for name in re.findall(r"^def (test_\w+)", text_of(file), re.M)
    }
    assert len(named) > 30
    assert not named - written


# Links


@each_page
def test_links_lead_somewhere(page):
    links = re.findall(r"\]\(([^)\s]+)\)", text_of(page))
    broken = [link for link in links if "://" not in link and not leads_somewhere(page, link)]
    assert not broken


def leads_somewhere(page: Path, link: str) -> bool:
    path, _, anchor = link.partition("#")
    target = page.parent / path if path else page
    return target.exists() and (not anchor or anchor in anchors_of(target))


def anchors_of(page: Path) -> set[str]:
    """The anchors that headings get, on the site and where a repository is browsed."""
    headings = re.findall(r"^#+ (.+)$", text_of(page), re.MULTILINE)
    words = [re.sub(r"[^\w -]", "", heading).strip().lower() for heading in headings]
    return {word.replace(" ", "-") for word in words}


def test_every_page_is_in_the_navigation():
    listed = re.findall(r"[\w/-]+\.md", text_of(ROOT / "mkdocs.yml"))
    pages = [str(page.relative_to(ROOT / "docs")) for page in PAGES if page.parent != ROOT]
    assert sorted(listed) == sorted(pages)


# Commands


@each_page
def test_commands_parse(page):
    faults = [fault for words in commands_of(page) for fault in faults_of(words)]
    assert not faults


def commands_of(page: Path) -> Iterator[list[str]]:
    """Commands of shell examples and of inline code, as words; placeholders stay words."""
    text = text_of(page)
    lines = [line for block in blocks_of(page, "sh") for line in joined(block).splitlines()]
    lines += re.findall(r"^    (?:sudo )?(python .+)$", text, re.MULTILINE)
    prose = re.sub(r"^```.*?^```", "", text, flags=re.DOTALL | re.MULTILINE)
    lines += [code.replace("\n", " ") for code in re.findall(r"`([^`]+)`", prose)]
    for line in lines:
        words = [word for word in shlex.split(line, comments=True) if word != "…"]
        while words and re.fullmatch(r"\w+=.*|\$", words[0]):
            words.pop(0)
        if words[:1] in (["kerasunet"], ["python"], ["make"], ["pip"]):
            yield words


def joined(block: str) -> str:
    """A block with its continued lines in one, and the one variable that examples use filled in."""
    text = block.replace("\\\n", " ")
    variable = re.match(r'P="(.+)"\n', text)
    return text.replace("$P ", f"{variable[1]} ") if variable else text


def faults_of(words: list[str]) -> list[str]:
    if words[0] == "make":
        return [word for word in words[1:] if "=" not in word and word not in targets()]
    if words[0] == "pip":
        return [extra for extra in re.findall(r"[\w-]+", extras_in(words)) if extra not in extras()]
    if words[0] == "kerasunet":
        return faults_of_verb(words[1], words[2:]) if words[1:] and words[1] != "VERB" else []
    script = Path(words[1]) if words[1:] else Path()
    if script.parent == Path("scripts") and script.stem in VERBS:
        return [*absent(script), *faults_of_verb(script.stem, words[2:])]
    if script.suffix != ".py":
        return []
    return [*absent(script), *(o for o in options_in(words) if o not in source_beside(script))]


def absent(script: Path) -> list[str]:
    return [] if (ROOT / script).is_file() else [str(script)]


def faults_of_verb(verb: str, words: list[str]) -> list[str]:
    """Options that the parser of a verb does not know, and the error that it ends with."""
    if verb.startswith("--"):
        return [] if run([verb]) == (0, "") else [verb]
    if verb not in VERBS:
        return [verb]
    unknown = [option for option in options_in(words) if option not in options_of(verb)]
    status, error = run([verb, *(word for word in words if word != "--help"), "--help"])
    return unknown or ([] if status == 0 else [f"{verb} {words}: {error}"])


def options_in(words: list[str]) -> list[str]:
    return [word.split("=")[0] for word in words if word.startswith("--")]


@cache
def options_of(verb: str) -> frozenset[str]:
    output = io.StringIO()
    with contextlib.redirect_stdout(output), contextlib.suppress(SystemExit):
        main([verb, "--help"])
    return frozenset(re.findall(r"(?<![\w-])--[a-z0-9-]+", output.getvalue()))


def run(words: list[str]) -> tuple[int, str]:
    errors = io.StringIO()
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(errors):
        try:
            status = main(words)
        except SystemExit as ended:
            status = ended.code or 0
    return status, errors.getvalue()


@cache
def source_beside(script: Path) -> str:
    """The text of a script and of the files beside it, which may define its options."""
    return "\n".join(text_of(path) for path in sorted((ROOT / script).parent.glob("*.py")))


@cache
def targets() -> frozenset[str]:
    return frozenset(re.findall(r"^([\w-]+):", text_of(ROOT / "Makefile"), re.MULTILINE))


@cache
def extras() -> frozenset[str]:
    settings = configparser.ConfigParser()
    settings.read(ROOT / "setup.cfg")
    return frozenset(settings["options.extras_require"])


def extras_in(words: list[str]) -> str:
    """The extras of this package that a `pip install` asks for; `…` stands for any."""
    named = [re.search(r"^(?:\.|kerasunet)\[([^]]+)\]$", word) for word in words]
    return " ".join(match[1] for match in named if match)


# What the README promises


def test_readme_is_short():
    assert len(text_of(ROOT / "README.md").split()) <= MOST_WORDS_OF_README


def test_numbers_of_the_readme_are_those_of_the_notes():
    pages = ("study.md", "first-study/index.md", "second-study/index.md", "notes/saved_models.md")
    notes = "".join(text_of(ROOT / "docs" / page) for page in pages)
    known = [float(number) for number in re.findall(r"\b0\.\d+", notes)]
    numbers = re.findall(r"\b0\.\d+", text_of(ROOT / "README.md"))
    assert len(numbers) > 10
    assert not [number for number in numbers if not is_rounded(number, known)]


def is_rounded(number: str, known: list[float]) -> bool:
    places = len(number.partition(".")[2])
    return any(f"{one:.{places}f}" == number for one in known)


@pytest.mark.slow
def test_readme_example_runs(monkeypatch, tmp_path, capsys):
    cv2, numpy = pytest.importorskip("cv2"), pytest.importorskip("numpy")
    monkeypatch.chdir(tmp_path)
    cv2.imwrite("scan.png", numpy.full((60, 80), 90, numpy.uint8))
    (tmp_path / "saved_models").symlink_to(ROOT / "saved_models", target_is_directory=True)
    for block in blocks_of(ROOT / "README.md", "python"):
        exec(compile(block, "README.md", "exec"), {})
    assert "(60, 80)" in capsys.readouterr().out


def test_list_of_saved_models_is_the_one_printed():
    output = io.StringIO()
    with contextlib.redirect_stdout(output):
        assert main(["models", "--markdown"]) == 0
    printed = [line for line in output.getvalue().splitlines() if line.startswith("|")]
    assert len(printed) > 10
    assert set(printed) <= set(text_of(ROOT / "docs/notes/saved_models.md").splitlines())


@pytest.mark.slow
def test_tables_of_the_study_are_those_printed():
    """Of the first two data sets; the tables of the second two come from the same code."""
    studies = [str(ROOT / "docs/first-study" / name) for name in ("bus_bra", "jsrt")]
    output = io.StringIO()
    with contextlib.redirect_stdout(output):
        assert main(["claims", *studies, "--markdown"]) == 0
    printed = [line for line in output.getvalue().splitlines() if line.startswith("|")]
    assert len(printed) > 70
    assert set(printed) <= set(text_of(ROOT / "docs/first-study/index.md").splitlines())


@pytest.mark.slow
def test_verdicts_of_the_study_are_those_printed(tmp_path):
    """Of one data set, within which p values are corrected; the others come from the same code."""
    published = ROOT / "docs/second-study"
    for cell in sorted(published.glob("st*s/shenzhen-*")):
        (tmp_path / cell.parent.name).mkdir(exist_ok=True)
        (tmp_path / cell.relative_to(published)).symlink_to(cell, target_is_directory=True)
    script = ROOT / "benchmarks/second_study.py"
    done = subprocess.run(
        [sys.executable, script, "claims", "--output", tmp_path],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    printed = done.stdout.splitlines()[2:]
    assert len(printed) == 7
    assert set(printed) <= set(text_of(ROOT / "docs/study.md").splitlines())


# The examples of CONTRIBUTING.md


def test_contributing_examples_are_short():
    blocks = blocks_of(ROOT / "CONTRIBUTING.md", "python")
    assert len(blocks) == 4
    assert all(len(re.findall(r"^.*\S", b, re.M)) <= MOST_LINES_OF_EXAMPLE for b in blocks)


def example(number: int, **names) -> dict:
    """Runs one of the examples; what it is given stands for what is in the file it is added to."""
    exec(blocks_of(ROOT / "CONTRIBUTING.md", "python")[number], names)
    return names


@pytest.mark.slow
def test_example_of_a_data_set(tmp_path, monkeypatch):
    folder = tmp_path / "modules" / "pairs"
    folder.mkdir(parents=True)
    for name in ("__init__.py", "README.md", "CITATIONS.bib", "TAGS.txt"):
        (folder / name).touch()
    (folder / "pairs_dataset_builder.py").write_text(
        blocks_of(ROOT / "CONTRIBUTING.md", "python")[0], encoding="utf-8"
    )
    images = tmp_path / "archive" / "pairs"
    images.mkdir(parents=True)
    for name in ("a.jpg", "a.png", "b.jpg", "b.png"):
        (images / name).touch()
    monkeypatch.syspath_prepend(folder.parent)
    module = importlib.import_module("pairs.pairs_dataset_builder")
    builder = module.Builder(data_dir=tmp_path / "prepared")
    found = builder.find_cases([images.parent])
    assert [case.key for case in found["train"].cases] == ["a", "b"]
    assert builder.find_cases([images]) == {}


def test_example_of_a_strategy_term():
    from kerasunet.strategies import NetworkLayout, terms

    layout = NetworkLayout.unet(depth=3)
    skip = example(1, **vars(terms))["Skip"]()
    assert str(skip) == "skip"
    assert {weight.block for weight in skip.weights(layout)} == {"enc1", "enc2", "enc3"}


def test_example_of_a_layout(tmp_path):
    from kerasunet.data.layouts import folders

    read = example(2, **vars(folders))["scans_and_outlines"]
    assert read(tmp_path) is None
    for name in ("scans", "outlines"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "x.png").write_bytes(b"")
    assert [case.key for case in read(tmp_path)] == ["x"]


def test_example_of_an_engine_has_what_engines_have():
    from kerasunet.inference.runtimes import ONNXRuntime

    engine = blocks_of(ROOT / "CONTRIBUTING.md", "python")[3]
    signatures = {
        node.name: [argument.arg for argument in node.args.args]
        for node in ast.walk(ast.parse(engine))
        if isinstance(node, ast.FunctionDef)
    }
    for name, arguments in signatures.items():
        code = getattr(ONNXRuntime, name).__code__
        assert list(code.co_varnames[: code.co_argcount]) == arguments
    assert signatures.keys() == {"version", "convert", "load"}


# The changelog


def renamed() -> list[tuple[str, str]]:
    """Old and new names of modules, one row of the table of the changelog each."""
    rows = re.findall(r"^\| (`kerasunet.+?) \| (`kerasunet.+?) \|$", text_of(CHANGELOG), re.M)
    return [(old, new) for olds, new in rows for old in re.findall(r"`(.+?)`", olds)]


def test_new_names_of_modules_exist_and_old_ones_do_not():
    assert len(renamed()) > 30
    new = {name for _, names in renamed() for name in re.findall(r"`(.+?)`", names)}
    assert not [name for name in sorted(new) if importlib.util.find_spec(name) is None]
    assert not [old for old, _ in renamed() if is_module(old)]


def is_module(name: str) -> bool:
    with contextlib.suppress(ModuleNotFoundError):
        return importlib.util.find_spec(name) is not None
    return False


DISPLAY, PLACES = "data/test_readers_dicom_display.py", "data/test_places.py"
DICOM, NIFTI = "data/test_readers_dicom.py", "data/test_readers_nifti.py"
MASKS, DRAWN = "data/test_masks.py", "data/test_annotations.py"
LAYOUTS = "data/test_layouts.py"
READ = {
    "mask in gray levels": (MASKS, "test_values_and_colors_that_are_chosen"),
    "mask in color, with a palette or without": (
        MASKS,
        "test_object_is_what_is_seen_on_black_or_on_nothing",
    ),
    "mask whose palette shows all numbers in one color": (
        MASKS,
        "test_numbers_that_a_palette_shows_in_one_color_are_refused",
    ),
    "TIFF mask in which 0 is white": (MASKS, "test_tiff_that_counts_from_white_is_refused"),
    "mask with transparency": (MASKS, "test_object_is_what_is_seen_on_black_or_on_nothing"),
    "threshold near the gray level of an area of a mask, which would become speckled": (
        MASKS,
        "test_an_area_that_a_threshold_cuts_through_is_refused",
    ),
    "value or color that is chosen, whose edge is smooth, so that it would be lost": (
        MASKS,
        "test_a_choice_that_would_lose_a_smooth_edge_is_refused",
    ),
    "number that is chosen, but is of another color in the palettes of some masks": (
        MASKS,
        "test_a_number_that_palettes_show_in_several_colors_is_refused",
    ),
    "mask that was smoothed or saved as JPEG": (
        MASKS,
        "test_masks_with_in_between_values_are_refused_unless_cut",
    ),
    "masks with a table of classes": (
        MASKS,
        "test_masks_are_read_by_the_table_that_comes_with_them",
    ),
    "labelme": (DRAWN, "test_background_and_ignore_cut_what_was_drawn_before"),
    "COCO": (DRAWN, "test_coco_is_drawn_as_its_own_library_draws_it"),
    "Pascal VOC": (MASKS, "test_voc_void_is_no_object_and_classes_are_chosen"),
    "shape or annotation without an area, or damaged": (
        DRAWN,
        "test_unusable_shape_costs_that_shape_and_is_named",
    ),
    "masks with one value or color each, but not the same in all": (
        MASKS,
        "test_an_object_of_several_codes_is_refused",
    ),
    "DICOM segmentation with several segments": (
        PLACES,
        "test_segments_are_chosen_by_label_or_refused",
    ),
    "several labels, categories, classes or segments": (
        DRAWN,
        "test_labels_are_counted_over_the_whole_set",
    ),
    "annotations of other programs": (
        DRAWN,
        "test_annotations_of_other_programs_are_refused_with_the_remedy",
    ),
    "DICOM: window, or VOI LUT": (DISPLAY, "test_the_first_sensible_of_several_windows_counts"),
    "DICOM: lookup tables": (DISPLAY, "test_a_table_in_big_endian"),
    "DICOM: palettes": (DISPLAY, "test_colors_of_real_files"),
    "DICOM: padding": (DISPLAY, "test_padding_is_the_ground_and_takes_no_part_in_the_range"),
    "DICOM: bits": (DISPLAY, "test_values_in_the_upper_bits"),
    "DICOM: overlays": (DISPLAY, "test_overlays_are_not_drawn"),
    "DICOM: inversion": (DISPLAY, "test_contradictory_inversion_is_refused"),
    "DICOM: broken elements": (DISPLAY, "test_a_broken_element_is_ignored_and_named"),
    "DICOM without preamble, file meta information or transfer syntax": (
        DISPLAY,
        "test_files_without_preamble_and_file_meta_information",
    ),
    "DICOM: `PresentationLUTSequence`": (DICOM, "test_a_presentation_table_is_refused"),
    "mask of label numbers that was saved as JPEG": (
        MASKS,
        "test_numbers_of_labels_in_a_jpeg_are_refused",
    ),
    "reduced copies of a TIFF page, such as thumbnails": (
        "data/test_readers.py",
        "test_a_thumbnail_is_no_page_of_a_tiff",
    ),
    "further pictures of a JPEG (MPO), such as a preview or depth": (
        "data/test_readers.py",
        "test_further_pictures_of_a_jpeg_are_named",
    ),
    "archive, spreadsheet or address instead of files": (
        "data/test_layouts.py",
        "test_a_spreadsheet_instead_of_a_manifest_is_refused",
    ),
    "`dataset.json` of nnU-Net or the Decathlon that pairs files of other names or folders, or "
    "lists missing images": (
        "data/test_layouts.py",
        "test_a_list_of_nnunet_that_names_missing_images_is_refused",
    ),
    "`channel_names` of nnU-Net beyond the one file of each image": (
        "data/test_layouts.py",
        "test_channels_of_nnunet_that_are_in_no_file_are_named",
    ),
    "`dataset.json` of nnU-Net with a larger `numTraining` than there are images": (
        "data/test_layouts.py",
        "test_fewer_images_than_nnunet_says_are_told",
    ),
    "label `background` in nnU-Net's `dataset.json` that is not 0": (
        "data/test_masks.py",
        "test_nnunet_may_number_the_background_otherwise",
    ),
    "DICOM files with the same `PatientID` or `StudyInstanceUID` in different groups": (
        "data/test_checking.py",
        "test_dicom_files_of_one_patient_in_several_groups_are_named",
    ),
    "few folders, taken for patients, with more than 20 images each": (
        "data/test_folders.py",
        "test_a_few_folders_of_many_images_may_be_no_patients",
    ),
    "folders taken for patients that hold others, such as `Bern/P1/` and `Bern/P2/`": (
        "data/test_folders.py",
        "test_folders_above_patients_are_named_unless_they_are_called_sites",
    ),
    "`1/` in `site1/` and in `site2/`, or in `benign/` and in `malignant/`": (
        "data/test_folders.py",
        "test_patients_of_one_name_in_several_folders_are_named",
    ),
    "few folders, taken for patients, that all hold names such as `P1` and `P2`": (
        "data/test_folders.py",
        "test_names_that_all_folders_of_patients_have_may_be_those_of_patients",
    ),
    "`masks/x/1.png`, `masks/x/x_mask_2.png` …, a folder for each image `x`": (
        "data/test_folders.py",
        "test_a_folder_of_masks_for_each_image",
    ),
    "segments with names such as `Segment_1`, or of one name in a file, that are of different "
    "types, such as liver and spleen": (
        "data/test_places.py",
        "test_segments_of_one_label_but_other_types_are_refused",
    ),
    "label `ignore` in nnU-Net's `dataset.json`": (
        "data/test_masks.py",
        "test_the_label_of_nnunet_for_pixels_that_nobody_has_judged_is_refused",
    ),
    "COCO outline that fits its `bbox` only with x and y exchanged or as percent, or run lengths "
    "that fit only row by row or inverted": (
        DRAWN,
        "test_an_outline_that_fits_its_box_only_if_it_is_read_in_another_way_is_refused",
    ),
    "COCO outline whose `bbox` is elsewhere, or much larger or smaller": (
        DRAWN,
        "test_an_outline_that_is_elsewhere_than_its_box_is_named",
    ),
    "outline that reaches beyond its image by more than a tenth of a side": (
        DRAWN,
        "test_an_outline_that_reaches_far_beyond_the_image_is_refused",
    ),
    "outlines in shares of the image, 0 to 1": (DRAWN, "test_shares_of_the_image_are_refused"),
    "outlines that may be in percent: no coordinate of a COCO file or labelme folder is above 100, "
    "and all images have more than 200 pixels a side": (
        DRAWN,
        "test_coordinates_that_look_like_percent_are_named",
    ),
    "outlines that are upright boxes, five or more, and a tenth of all": (
        DRAWN,
        "test_outlines_that_are_all_boxes_are_named",
    ),
    "polygon inside another of the same label (labelme) or annotation (COCO)": (
        DRAWN,
        "test_a_polygon_inside_another_of_its_object_is_named_for_it_may_be_a_hole",
    ),
    "COCO object that lies wholly under an annotation of the background": (
        DRAWN,
        "test_an_object_that_lies_wholly_under_the_background_is_refused",
    ),
    "COCO image marked `deleted`": (
        DRAWN,
        "test_images_of_coco_that_are_marked_as_deleted_are_left_out_and_named",
    ),
    "COCO file without outlines, such as captions, beside one with": (
        DRAWN,
        "test_captions_beside_outlines_are_no_second_set_of_the_images",
    ),
    "labelme file whose picture inside has nothing in common with the image file beside it": (
        DRAWN,
        "test_an_outline_that_was_drawn_on_another_picture_is_refused",
    ),
    "TIFF of ImageJ or OME with up to seven channels as pages": (
        "data/test_readers.py",
        "test_channels_in_pages_of_their_own_are_no_frames",
    ),
    "OME-TIFF whose pages are not the slices of a point in time, then those of the next": (
        "data/test_readers.py",
        "test_pages_of_ome_in_another_order_than_slices_and_points_in_time_are_refused",
    ),
    "DICOM with the place of the first slice and the steps to the next, such as NM and RT Dose": (
        PLACES,
        "test_stacks_that_state_the_place_of_the_first_slice_and_the_steps",
    ),
    "DICOM image with several frames at one position": (
        PLACES,
        "test_a_segmentation_by_position_is_refused_for_frames_at_one_position",
    ),
    "mask in a BMP of 32 bits whose fourth byte varies, though the header says no opacity": (
        "data/test_readers.py",
        "test_a_mask_in_bmp_whose_fourth_bytes_vary_may_have_an_opacity",
    ),
    "masks of one image that cover the same to a fifth and more, as those of several annotators "
    "do": ("data/test_checking.py", "test_masks_of_one_image_that_cover_the_same_are_named"),
    "what iCloud has moved away (`.x.png.icloud`), archives in folders of images or masks": (
        "data/test_folders.py",
        "test_what_icloud_has_moved_away_is_named",
    ),
    "a manifest or table of classes where none is read, such as `masks/manifest.csv` beside "
    "`images/`": (
        "data/test_folders.py",
        "test_a_manifest_or_table_where_it_is_not_read_is_named",
    ),
    "an image that is black and white and equal to its mask": (
        "data/test_folders.py",
        "test_an_image_that_is_its_own_mask_is_named",
    ),
    "`x_mask_heart.png` and `x_mask_lung.png`, or folders of such names, also `masks_heart/` of "
    "one patient and `masks_lung/` of another": (
        "data/test_objects.py",
        "test_a_folder_or_a_suffix_tells_the_object",
    ),
    "DICOM: pixels of more or fewer frames than the header states, or a table of frames that "
    "contradicts them": (
        DISPLAY,
        "test_pixels_of_more_frames_than_stated_are_refused",
    ),
    "DICOM: pixel spacing": (DISPLAY, "test_spacing_that_makes_no_sense_is_passed_over"),
    "DICOM segmentation": (PLACES, "test_segmentations_by_highdicom_of_a_series"),
    "DICOM: video, deflated, rare colors": (DICOM, "test_deflated_is_refused"),
    "NIfTI, NRRD, MetaImage: slices": (PLACES, "test_a_volume_one_voxel_thick_is_one_slice"),
    "NIfTI, NRRD, MetaImage: orientation": (NIFTI, "test_radiological_convention"),
    "object of which nothing is left at `--image-size`, because it is smaller than about a pixel "
    "there": (
        "data/test_checking.py",
        "test_an_object_that_shrinking_leaves_nothing_of_is_named",
    ),
    "NIfTI: size of a voxel": (PLACES, "test_sizes_of_voxels_come_from_both_places"),
    "NIfTI, NRRD, MetaImage: voxels of 1 mm at position 0, not turned": (
        PLACES,
        "test_a_picture_that_itk_converted_has_no_size",
    ),
    "image and mask that both have a place in the patient": (
        PLACES,
        "test_nifti_masks_are_laid_on_the_image_however_they_are_stored",
    ),
    "plain picture, and NIfTI without orientation": (
        PLACES,
        "test_a_nifti_mask_without_orientation_is_not_turned",
    ),
    "plain picture, and NIfTI, NRRD or MetaImage as ITK writes it": (
        PLACES,
        "test_masks_of_plain_pictures_as_itk_writes_them",
    ),
    "plain picture, and a volume that is turned by its orientation": (
        PLACES,
        "test_a_picture_and_a_volume_that_is_turned_are_refused_together",
    ),
    "image of one volume, mask of several, such as one per label": (
        PLACES,
        "test_a_mask_of_one_volume_for_each_label_is_refused",
    ),
    "NRRD or MetaImage header with the pixels in another file, NRRD sequence or other layers": (
        PLACES,
        "test_headers_that_name_another_file_are_refused",
    ),
    "stack of MetaMorph, or of ImageJ of 4 GB or more, that lists only its first picture": (
        "data/test_readers.py",
        "test_a_stack_of_imagej_that_lists_its_first_picture_alone_is_refused",
    ),
    "mask with a number for each object, 1, 2, 3 …": (
        "data/test_masks.py",
        "test_numbered_objects_are_refused_with_the_way_to_take_all",
    ),
    "masks with other words, all with the same: `x_roi`, `x_lesion`, `x_tumor`, `x_maske`, "
    "`x_masque`, `x_msk`, `x_dseg`, `x_manual`, `x_outline` …": (
        "data/test_folders.py",
        "test_masks_are_paired_by_names_that_leave_no_doubt",
    ),
    "`images/x_mask.png` with `masks/x_mask.png`, and `images/x.png` without a mask": (
        "data/test_folders.py",
        "test_a_mask_among_the_images_is_no_image",
    ),
    "folders such as `excluded/`, `old/`, `predictions/` or `augmented/`, beside patients or other "
    "kinds": ("data/test_folders.py", "test_a_folder_of_results_copies_or_rejects_is_no_patient"),
    "`masks/x.png` with `x.png` above it": (
        "data/test_folders.py",
        "test_masks_are_paired_by_names_that_leave_no_doubt",
    ),
    "`masks/x.png` with `images/P1/x.png`": (
        "data/test_folders.py",
        "test_masks_are_paired_by_names_that_leave_no_doubt",
    ),
    "`x/images/x.png` with masks that are called by digests, as in the Data Science Bowl 2018": (
        "data/test_folders.py",
        "test_masks_are_paired_by_names_that_leave_no_doubt",
    ),
    "several folders for masks, such as `labels/` and `masks/`": (
        "data/test_folders.py",
        "test_of_several_folders_for_masks_the_one_with_pictures_is_read",
    ),
    "a group in several parts of a division, such as a patient in `train/` and `test/`": (
        "data/test_folders.py",
        "test_a_patient_in_two_parts_of_a_division_is_named",
    ),
    "other flags of labelme images and shapes, attributes and metadata in COCO, and fields that "
    "neither format has, such as `score` or `split`": (
        DRAWN,
        "test_check_names_fields_that_are_not_read",
    ),
    "two COCO categories of one name": (
        DRAWN,
        "test_categories_of_one_name_are_told_apart_by_their_supercategories",
    ),
    "COCO outlines of an image that cover less or more than their `area` and `bbox`, by half and "
    "more": (DRAWN, "test_an_area_that_is_not_that_of_the_outlines_is_named"),
    "`annotations/P1.json` or `instances_P1.json`, if images of several folders have the names in "
    "it": (DRAWN, "test_a_coco_file_is_of_the_folder_it_is_called_like"),
    "3D Slicer's segmentation (`x.seg.nrrd`, in a mask folder or beside `x`; of any name beside "
    "the only image of a folder)": (
        PLACES,
        "test_a_segmentation_of_slicer_that_is_cut_is_padded",
    ),
    "other masks that cover only a part of their image": (
        PLACES,
        "test_another_mask_that_is_cut_says_so",
    ),
    "picture or mask turned by EXIF": (
        MASKS,
        "test_a_mask_that_may_be_drawn_on_either_view_is_refused",
    ),
    "NIfTI whose sform and qform turn it differently": (
        PLACES,
        "test_two_orientations_that_contradict_each_other_are_refused",
    ),
    "16-bit TIFF palette that uses only 8 bits": (
        "data/test_readers.py",
        "test_a_palette_of_sixteen_bits_that_fills_eight",
    ),
    "compressed BMP": (
        "data/test_readers.py",
        "test_run_lengths_of_bmp_are_read_rightly_or_refused",
    ),
    "threshold of up to 255 for a smooth mask of more than 8 bits": (
        MASKS,
        "test_a_threshold_of_eight_bits_for_deeper_masks_is_refused",
    ),
    "picture or mask with a number that its palette lacks": (
        MASKS,
        "test_numbers_that_a_palette_lacks_are_refused",
    ),
    "TIFF that leaves out empty parts, as GDAL writes with `SPARSE_OK`": (
        "data/test_readers.py",
        "test_a_tiff_that_leaves_out_empty_parts_is_refused",
    ),
    "TIFF of 64-bit integers, half floats, five channels and the like": (
        "data/test_readers.py",
        "test_numbers_that_no_tiff_reader_here_knows_are_named",
    ),
    "JSON with an entry twice, COCO category with two names or none": (
        DRAWN,
        "test_an_entry_that_occurs_twice_is_refused",
    ),
    "several frames in a file that is named `.png`, `.jpg` or the like; animation": (
        "data/test_readers.py",
        "test_frames_under_the_name_of_a_picture_are_refused",
    ),
    "an image of a kind that is not read, such as `.jp2` or `.heic`": (
        "data/test_layouts.py",
        "test_an_image_of_a_kind_that_is_not_read_is_named_where_its_mask_lacks_it",
    ),
    "what systems leave behind: hidden files, `@eaDir/`, `__MACOSX/`, recycle bins": (
        "data/test_layouts.py",
        "test_folders_that_systems_leave_behind_are_no_data",
    ),
    "accents in file names, manifests, labelme and COCO": (
        DRAWN,
        "test_coco_names_in_either_unicode_form",
    ),
    "PNG in which one gray level or color is transparent": (
        "data/test_readers.py",
        "test_one_level_or_color_of_sixteen_bits_may_be_transparent",
    ),
    "PNG of 16-bit gray with opacity": (
        "data/test_readers.py",
        "test_gray_of_sixteen_bits_with_opacity_keeps_its_lower_byte",
    ),
    "BMP with a palette of few grays": (
        "data/test_readers.py",
        "test_bmp_of_black_and_white_in_any_number_of_bits",
    ),
    "GIF that fills only a part of its canvas": (
        "data/test_readers.py",
        "test_gif_that_fills_a_part_of_its_canvas_is_refused",
    ),
    "TIFF with more channels than color and opacity, with slices in one picture, or cut by "
    "tifffile": (
        "data/test_readers.py",
        "test_channels_and_slices_that_would_be_dropped_are_named",
    ),
    "DICOM: JPEG 2000 that changes colors itself, while the header states YBR_FULL": (
        DISPLAY,
        "test_jpeg_2000_that_changes_colors_which_the_header_states_is_refused",
    ),
    "DICOM: gray levels that stand for colors of a supplemental palette": (
        DISPLAY,
        "test_gray_levels_that_stand_for_colors_are_refused",
    ),
    "NIfTI: voxels of several numbers": (NIFTI, "test_color_in_a_fifth_axis_as_itk_writes_it"),
    "several frames, one wanted": ("cli/test_predict.py", "test_every_frame_is_segmented"),
    "folder of images for `predict` or `next`, with subfolders": (
        "cli/test_predict.py",
        "test_images_in_subfolders_of_a_folder_of_images_are_named",
    ),
    "mask of 0 and one value, none of it above `--mask-threshold`": (
        MASKS,
        "test_a_binary_mask_of_another_coding_is_not_empty",
    ),
    "empty mask that was saved as JPEG": (
        MASKS,
        "test_an_empty_mask_in_a_jpeg_may_have_lost_its_labels",
    ),
    "`p_mask_1.png` beside `p_mask_1_mask.png`": (
        LAYOUTS,
        "test_an_image_that_is_named_like_a_mask_beside_its_own",
    ),
    "a group that is written in two ways, such as `1` and `1.0`, `7` and `007`, `P7` and `p7`, or "
    "in letters of two alphabets that look the same, or that a spreadsheet has rounded "
    "(`1.2E+12`)": (
        LAYOUTS,
        "test_one_group_that_is_written_in_two_ways_is_refused",
    ),
    "manifest with a column of patients, but without `group`": (
        LAYOUTS,
        "test_manifest_with_columns_and_paths_of_other_programs",
    ),
    "manifest in which masks of one image differ in a column such as `object`, `class` or "
    "`annotator`": (
        LAYOUTS,
        "test_manifest_masks_of_several_objects_of_an_image_are_not_united",
    ),
    "cases of a class of your own whose images would be scaled in different ways, or whose objects "
    "have different values": (
        "data/test_decoding.py",
        "test_a_callers_own_cases_that_may_not_mean_the_same_are_refused",
    ),
    "pictures of Pillow in Python, in other modes than gray and RGB": (
        "data/test_decoding.py",
        "test_pictures_of_pillow_whose_numbers_are_no_gray_levels_are_refused",
    ),
    "arrays for training with other numbers of images, masks, keys, groups or spacings, "
    "or with masked pixels": (
        "data/test_folders.py",
        "test_arrays_that_would_lose_cases_or_pixels_are_refused",
    ),
    "manifest with files in further columns, such as `mask2`": (
        LAYOUTS,
        "test_manifest_with_masks_in_further_columns_is_refused",
    ),
    "other columns of a manifest, such as `animal` or `quality`": (
        LAYOUTS,
        "test_check_names_every_column_of_a_manifest_that_is_not_read",
    ),
    "manifest with empty rows, or columns without a name": (
        LAYOUTS,
        "test_manifest_as_spreadsheets_write_it",
    ),
    "`masks/x.jpg.png`, `images/x.IMA` with `masks/x.png`": (
        LAYOUTS,
        "test_masks_that_are_called_after_the_file_of_the_image",
    ),
    "masks of one image with several words, such as `x_mask.png` and `x_gt.png`": (
        LAYOUTS,
        "test_masks_of_an_image_of_several_words_are_refused",
    ),
    "two labelme files of one image, two manifests": (
        DRAWN,
        "test_two_labelme_files_of_one_image_are_refused",
    ),
    "COCO annotation marked `ignore`, `deleted` or `isbbox`": (
        DRAWN,
        "test_coco_annotations_that_are_no_outlines_are_left_out_and_named",
    ),
    "black TIFF mask with regions of ImageJ, as a selection or an overlay": (
        "data/test_masks.py",
        "test_a_black_mask_with_regions_of_imagej_is_refused",
    ),
    "mask with the palette that ImageJ inverts, from white down": (
        MASKS,
        "test_a_palette_that_counts_from_white_is_refused",
    ),
    "mask in whose colors the chosen one is missing, but nearly there, such as #fde724 for "
    "#fde725": (MASKS, "test_a_color_that_is_nearly_the_chosen_one_is_named"),
    "mask of probabilities from 0 to 1": (MASKS, "test_probabilities_are_named"),
    "DICOM: display shutters": (DISPLAY, "test_what_a_rectangular_shutter_hides_is_covered"),
    "DICOM: compressed pixels of another size, other channels or more bits than the header "
    "states": (DISPLAY, "test_jpeg_2000_of_another_size_than_stated_is_named"),
    "image of several points in time, mask of slices or of other points": (
        PLACES,
        "test_slices_of_a_mask_are_not_taken_for_points_in_time_of_its_image",
    ),
    "PNG or deflated TIFF with a checksum that does not fit": (
        "data/test_readers_damage.py",
        "test_a_checksum_that_does_not_fit_is_told",
    ),
    "JPEG that breaks off, or whose codes do not fit together": (
        "data/test_readers_damage.py",
        "test_a_photograph_of_which_only_the_upper_half_is_there_is_told",
    ),
    "NRRD compressed by bzip2, or without the order of its bytes": (
        PLACES,
        "test_nrrd_that_cannot_be_unpacked_says_why",
    ),
    "outlines that are all at the top left of ten images or more": (
        DRAWN,
        "test_outlines_that_are_all_at_the_top_left_are_named",
    ),
    "labelme shape flagged `ignore`, or with `holes`": (
        DRAWN,
        "test_labelme_shapes_that_are_flagged_to_be_ignored_are_left_out_and_named",
    ),
    "names that `--objects` chooses, beside masks that come without names": (
        "data/test_objects.py",
        "test_names_beside_masks_without_names_are_refused",
    ),
    "name that `--objects` chooses, and that is there in another spelling, too, such as `cyst` and "
    "`Cyst`": (
        "data/test_objects.py",
        "test_a_name_that_is_there_in_another_spelling_is_refused",
    ),
    "values that `--objects` chooses, beside outlines with labels": (
        "data/test_objects.py",
        "test_values_beside_outlines_with_labels_are_refused",
    ),
    "tables of classes, in one folder or beside the masks and above them, that disagree": (
        "data/test_objects.py",
        "test_tables_of_classes_that_disagree_are_refused",
    ),
    "images that have mask files, but none of the object that is chosen": (
        "data/test_objects.py",
        "test_images_with_masks_of_other_objects_only_are_named",
    ),
    "`--mask-threshold` beside a table of classes": (
        "data/test_objects.py",
        "test_a_threshold_beside_a_table_of_classes_is_refused",
    ),
    "labelme image flagged `ignore`": (
        DRAWN,
        "test_labelme_images_that_are_flagged_to_be_ignored_are_left_out_and_named",
    ),
    "JPEG of 12 bits, lossless JPEG and JPEG-LS outside of DICOM": (
        "data/test_readers_damage.py",
        "test_rare_kinds_of_jpeg_are_named",
    ),
    "DICOM: JPEG 2000 without the sign that the header states": (
        DICOM,
        "test_the_sign_that_jpeg_2000_lacks_is_that_of_the_header",
    ),
    "NRRD: unit of length, spacing of `nan`": (PLACES, "test_spacing_of_nrrd_in_its_unit"),
    "any other document or table, such as `notes.txt` or `list.xml`": (
        "data/test_folders.py",
        "test_check_names_every_document_that_no_case_is_read_from",
    ),
    "volume that does not say where its voxels are, or not clearly": (
        PLACES,
        "test_metaimage_that_does_not_say_where_its_pixels_are_is_refused",
    ),
}


@pytest.mark.parametrize("row", READ)
def test_what_is_read_and_how_is_tested(row):
    """Rows of the guide's table of what is read, and the test of each."""
    file, test = READ[row]
    assert f"\n| {row} | " in text_of(ROOT / "docs/guide/data.md")
    assert f"\ndef {test}(" in text_of(ROOT / "tests" / file)
