"""Reports of studies: self-contained, honest about what is missing, and nothing in them is code."""

from __future__ import annotations

import io
import json
import re
from contextlib import redirect_stdout
from html import escape
from html.parser import HTMLParser

import pandas as pd
import pytest
from helpers.study_tables import write_study
from PIL import Image

from kerasunet.cli import main
from kerasunet.demo.study import _opened, open_folder
from kerasunet.study.report import closing, write_report
from kerasunet.study.results import read_results
from kerasunet.study.stats import StudyStatistics, check_claims, compare_all, summarize

pytestmark = pytest.mark.slow

STRATEGIES = (
    *("none", "scratch", "all", "auto", "contracting", "expanding"),
    *("shallow:1", "shallow:2", "shallow:4", "deep:1", "deep:3", "deep:4"),
)
SHAPE = {"strategies": STRATEGIES, "depth": 2, "cases_per_fold": 8}
NASTY = "<script>alert('x')</script>\"'&"


class Page(HTMLParser):
    """What a browser would see: elements with their attributes, and text."""

    def __init__(self, html: str):
        super().__init__()
        self.elements: list[tuple[str, dict]] = []
        self.words: list[str] = []
        self.feed(html)

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))

    def handle_data(self, data):
        self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())

    def all(self, tag: str) -> list[dict]:
        return [attributes for name, attributes in self.elements if name == tag]


def read(path) -> Page:
    return Page(path.read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def studies(tmp_path_factory):
    folder = tmp_path_factory.mktemp("studies")
    return [write_study(folder / data, data, **SHAPE) for data in ("bus_bra", "jsrt")]


@pytest.fixture(scope="module")
def told(studies, tmp_path_factory):
    """Return the report of two studies, with a picture, and what the command line says of it."""
    folder = tmp_path_factory.mktemp("report")
    Image.new("RGB", (8, 8)).save(folder / "pairs.png")
    words = ["report", *studies, "--output", folder / "out", "--pictures", folder / "pairs.png"]
    with redirect_stdout(io.StringIO()) as said:
        assert main([*map(str, words)]) == 0
    return folder / "out" / "report.html", said.getvalue()


@pytest.fixture(scope="module")
def report(told):
    return told[0]


@pytest.fixture(scope="module")
def page(report):
    return read(report)


def test_report_needs_nothing_else(report, page):
    html = report.read_text(encoding="utf-8")
    assert html.startswith("<!DOCTYPE html>")
    links = [value for _, a in page.elements for n, value in a.items() if n in ("src", "href")]
    assert links and all(link.startswith(("#", "data:image/png;base64,")) for link in links)
    assert not re.search(r"url\((?!#)|@import|https?://(?!www\.w3\.org)", html)
    policy = next(a for a in page.all("meta") if a.get("http-equiv") == "Content-Security-Policy")
    assert policy["content"].startswith("default-src 'none'")
    assert not page.all("script") and not page.all("link")


def test_names_are_unique_and_references_lead_somewhere(page):
    names = [a["id"] for _, a in page.elements if "id" in a]
    assert len(names) == len(set(names))
    links = [value for _, a in page.elements for n, value in a.items() if n == "href"]
    assert {link[1:] for link in links} <= set(names)


def test_report_can_be_heard(page):
    assert page.all("html")[0]["lang"] == "en"
    drawings = [a for a in page.all("svg") if a.get("role") == "img"]
    assert len(drawings) == len(page.all("svg")) == 6
    assert all(len(drawing["aria-label"]) > 60 for drawing in drawings)
    assert [picture["alt"] for picture in page.all("img")] == ["pairs"]
    assert page.all("th") and all(a.get("scope") in ("row", "col") for a in page.all("th"))
    assert len(page.all("caption")) == len(page.all("table"))
    headings = [int(tag[1]) for tag, _ in page.elements if re.fullmatch("h[1-6]", tag)]
    assert headings.count(1) == 1
    assert all(b - a <= 1 for a, b in zip(headings, headings[1:], strict=False))


def test_answer_is_made_from_the_verdicts_of_the_largest_training_size(page, studies):
    cases = read_results(studies).cases
    mean = (
        cases[(cases.data == "bus_bra") & (cases.train_size == 80)].groupby("strategy").dice.mean()
    )
    ahead = mean["contracting"] - mean["expanding"]
    assert "On bus_bra with 80 images, tuning the contracting path was better" in page.text
    assert f"(+{ahead:.3f} Dice, " in page.text
    assert "on jsrt with 80 images, tuning the expanding path was better" in page.text
    assert f"the best strategy was “all” (mean Dice {mean['all']:.3f})" in page.text
    assert "not complete" not in page.text and "Failed runs" not in page.text


def test_patients_are_claimed_only_where_somebody_named_them(page, studies, tmp_path):
    """The groups of these studies are their images."""
    count = read_results(studies).cases.query("data == 'jsrt'").key.nunique()
    assert f"intervals over groups that belong together: {count} images of bus_bra" in page.text
    assert f"signed-rank test over {count} images after Holm" in page.text
    assert "patient" not in page.text
    study = write_study(tmp_path / "bus_bra", "bus_bra", **SHAPE)
    cases = pd.read_csv(study / "cases.csv")
    cases["group"] = "p" + cases["key"].str[-1]
    cases.to_csv(study / "cases.csv", index=False)
    text = read(write_report(study)).text
    assert "8 patients of bus_bra" in text and "signed-rank test over 8 patients" in text


def test_every_claim_stands_there_with_its_verdict(page, studies):
    claims = check_claims(read_results(studies))
    assert {claim.verdict for claim in claims} >= {"supported", "contradicted"}
    shown = [a["class"].split()[1] for a in page.all("span") if "verdict" in a.get("class", "")]
    assert shown == [claim.verdict for claim in claims]
    assert all(claim.statement in page.text for claim in claims)


def test_figures_and_tables_lie_beside_the_report(report, studies):
    files = {path.name for path in (report.parent / "figures").iterdir()}
    assert len(files) == 12 and {"blocks.png", "blocks.svg", "forest.png"} <= files
    results = read_results(studies)
    expected = summarize(results)
    written = pd.read_csv(report.parent / "tables" / "strategies.csv")
    pd.testing.assert_frame_equal(written, expected, check_dtype=False, rtol=1e-5)
    comparisons = pd.read_csv(report.parent / "tables" / "comparisons.csv")
    assert len(comparisons) == len(compare_all(results))
    claims = pd.read_csv(report.parent / "tables" / "claims.csv")
    assert len(claims) == len(check_claims(results))


def test_protocol_tells_settings_terms_and_citation(page):
    for text in (
        *("CC BY 4.0", "The makers of bus_bra, A Set of Images", "120 finished, 0 failed"),
        *("optimization: steps", "architecture: depth", "Research use only"),
        "kerasunet 0.1.0, keras 3.15.1, tensorflow 2.21.0",
    ):
        assert text in page.text


def test_unfinished_study_says_so_and_reports_what_it_can(tmp_path):
    study = write_study(
        tmp_path / "study",
        strategies=("none", "contracting", "all"),
        train_sizes=(20,),
        folds=(2,),
        cases_per_fold=8,
        failed=("all",),
    )
    page = read(write_report(study))
    assert "This study is not complete." in page.text
    assert "bus_bra: 1 of 5 folds have results." in page.text
    assert "bus_bra: 1 run failed, listed below." in page.text
    assert "the contracting and the expanding path could not be compared" in page.text
    assert "the best strategy was “contracting”" in page.text
    left_out = "Contracting path against expanding path: it needs the strategies contracting and"
    assert left_out in page.text
    assert "FloatingPointError: loss became NaN or infinite" in page.text
    assert (study / "report.html").is_file() and (study / "tables" / "claims.csv").is_file()


def test_texts_from_files_stay_texts(tmp_path):
    study = write_study(
        tmp_path / "study",
        data=f"mine {NASTY}",
        strategies=("none", "all"),
        train_sizes=(20,),
        folds=(0, 1),
        cases_per_fold=4,
        failed=("none",),
        failure=f"ValueError: {NASTY}",
        terms=NASTY,
    )
    page = read(write_report(study))
    assert not page.all("script")
    assert page.text.count(NASTY) >= 4
    assert "onerror" not in {name for _, attributes in page.elements for name in attributes}


def test_strategies_with_fewer_runs_are_told(tmp_path):
    study = write_study(tmp_path, "busi", ("none", "all"), (20,), (0, 1, 2, 3, 4), 4)
    for name in ("cases.csv", "runs.csv"):
        frame = pd.read_csv(study / name)
        gone = (frame.strategy == "all") & (frame.fold > 1)
        frame[~gone].to_csv(study / name, index=False)
    page = read(write_report(study, tmp_path / "out"))
    assert "2 of 5 runs" in page.text
    assert "strategies have from 2 to 5 finished runs each" in page.text


@pytest.mark.parametrize(
    ("start", "told"),
    [
        ({"seen": ["CASES", "never-tested"], "is_known": True}, "has seen 2 of the COUNT held-out"),
        ({"seen": [], "is_known": False}, "may have seen held-out cases: its card does not list"),
        ({"seen": ["never-tested"], "is_known": True}, ""),
        (None, ""),
    ],
)
def test_a_start_that_has_seen_held_out_cases_is_told(tmp_path, call_cli, start, told):
    """In the page, the closing words, the claims and the demo; only tested cases count."""
    study = write_study(tmp_path / "study", "busi", strategies=("all", "none"), depth=2)
    record = json.loads((study / "study.json").read_text())
    keys = pd.read_csv(study / "cases.csv")["key"].unique()
    if start is not None:
        seen = [*keys[:2], "never-tested"] if "CASES" in start["seen"] else start["seen"]
        (study / "study.json").write_text(json.dumps({**record, "start": {**start, "seen": seen}}))
    told = f"busi: the start, natural, {told.replace('COUNT', str(len(keys)))}" if told else ""
    statistics = StudyStatistics(read_results([study]))
    page = _opened(open_folder, str(study))[0]  # Of the demo.
    assert (escape(told) in page) and page.count("the start, natural, ") == bool(told)
    said = [
        read(write_report(study, tmp_path / "report")).text,
        " ".join(closing(statistics)),
        call_cli("claims", study).stdout,
        call_cli("claims", study, "--markdown").stdout,
    ]
    assert [text.count("the start, natural, ") for text in said] == [bool(told)] * 4
    assert all(told in text for text in said)


def test_refusals_name_what_is_wrong(tmp_path, studies):
    first, second = studies
    with pytest.raises(ValueError, match="several studies needs an output folder"):
        write_report([first, second])
    with pytest.raises(ValueError, match="are both studies of bus_bra"):
        write_report([first, first], tmp_path)
    deeper = write_study(tmp_path / "deeper", "shenzhen", ("none",), (20,), (0,), 4, depth=3)
    with pytest.raises(ValueError, match="of depth 2, .*deeper of depth 3"):
        write_report([first, deeper], tmp_path)
    with pytest.raises(FileNotFoundError, match="is not a study with results"):
        write_report(tmp_path / "nowhere")
    (deeper / "study.json").unlink()
    with pytest.raises(FileNotFoundError, match="nothing says what was studied"):
        write_report(deeper)
    broken = write_study(tmp_path / "broken", "jsrt", ("none",), (20,), (0,), 4, failed=("none",))
    with pytest.raises(ValueError, match="no run has finished yet"):
        write_report(broken)
    with pytest.raises(ValueError, match="not a PNG file"):
        write_report(first, tmp_path, pictures=[first / "runs.csv"])


def test_paths_may_be_text_and_a_single_study_by_itself(tmp_path, studies):
    one = studies[0]
    page = write_report(str(one), str(tmp_path / "text")).read_bytes()
    assert page == write_report([one], tmp_path / "paths").read_bytes()
    assert read_results(str(one)).data_sets == read_results([one]).data_sets


def test_command_line_tells_where_the_report_of_several_studies_is(told, page):
    path, said = told
    assert f"report      {path}" in said
    assert "Which layers to fine-tune: bus_bra, jsrt" in page.text


def test_command_line_asks_where_a_report_of_several_studies_shall_go(call_cli, studies):
    refused = call_cli("report", *studies)
    assert refused.returncode == 2 and "needs an output folder" in refused.stderr
    assert "Traceback" not in refused.stderr


def test_command_line_prints_the_tables_in_markdown(call_cli, studies):
    done = call_cli("claims", *studies, "--markdown")
    assert done.returncode == 0, done.stderr
    parts = done.stdout.strip().split("\n\n")
    tables = [part.splitlines() for part in parts if part.startswith("|")]
    assert all(len({line.count("|") for line in lines}) == 1 for lines in tables)
    statistics = StudyStatistics(read_results(studies))
    first = statistics.results.scenarios[0]
    expected = statistics.summary_of(first)["mean"]["contracting"]
    (row,) = [line for line in tables[0] if "| contracting |" in line]
    assert f"{expected:.3f} (" in row
    claims = statistics.claims
    lines = [line for table in tables for line in table]
    listed = [line for line in lines if line.startswith(f"| {claims[0].name} |")]
    assert any(f"| {claims[0].verdict} |" in line for line in listed)
