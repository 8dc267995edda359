"""Splits: no group in two parts, exact sizes, nested training sets, strata in proportion."""

from collections import Counter, defaultdict
from pathlib import Path

import pytest
from hypothesis import assume, given, settings, strategies as st

from kerasunet.data import FileCase, Split, load, split_cases
from kerasunet.data.splits import development_keys

pytestmark = pytest.mark.filterwarnings("error")


def make_case(key, group=None, label=""):
    return FileCase(key, group or key, Path(f"{key}.png"), masks=(), label=label)


def make_cases(count, label=""):
    return [make_case(f"{label}{number:03d}", label=label) for number in range(count)]


def complaint(action, kind=ValueError):
    with pytest.raises(kind) as caught:
        action()
    return str(caught.value)


@st.composite
def grouped_cases(draw):
    """Patients of 1 to 4 images, each patient of one label."""
    patient = st.tuples(st.integers(1, 4), st.sampled_from("abc"))
    patients = draw(st.lists(patient, min_size=6, max_size=40))
    return [
        make_case(f"g{group:02d}-{view}", f"g{group:02d}", label)
        for group, (size, label) in enumerate(patients)
        for view in range(size)
    ]


def groups_of(cases, keys):
    by_key = {case.key: case.group for case in cases}
    return {by_key[key] for key in keys}


# --- what always holds --------------------------------------------------------------------------


@given(
    cases=grouped_cases(),
    train_size=st.integers(1, 20),
    validation_size=st.integers(0, 10),
    folds=st.integers(2, 6),
    seed=st.integers(-5, 10**9),
    data=st.data(),
)
@settings(max_examples=150, deadline=None)
def test_parts_have_exact_sizes_and_share_no_group(
    cases, train_size, validation_size, folds, seed, data
):
    fold = data.draw(st.integers(0, folds - 1))
    try:
        split = split_cases(cases, train_size, validation_size, fold=fold, folds=folds, seed=seed)
    except ValueError as error:
        assume("were requested" not in str(error))
        raise
    assert (len(split.train), len(split.validation)) == (train_size, validation_size)
    keys = [*split.train, *split.validation, *split.test]
    assert len(set(keys)) == len(keys)
    assert set(keys) <= {case.key for case in cases}
    train, validation, test = (groups_of(cases, part) for part in vars(split).values())
    assert not train & validation and not train & test and not validation & test


@given(cases=grouped_cases(), folds=st.integers(2, 6), seed=st.integers(0, 99))
@settings(max_examples=60, deadline=None)
def test_every_case_is_tested_once_and_else_used(cases, folds, seed):
    splits = [split_cases(cases, fold=fold, folds=folds, seed=seed) for fold in range(folds)]
    everything = sorted(case.key for case in cases)
    assert sorted(key for split in splits for key in split.test) == everything
    for split in splits:
        assert sorted(split.train + split.test) == everything


@given(cases=grouped_cases(), seed=st.integers(0, 99), by_size=st.booleans())
@settings(max_examples=60, deadline=None)
def test_smaller_training_sets_are_the_beginning_of_larger_ones(cases, seed, by_size):
    sizes = {case.key: len(case.key) + index for index, case in enumerate(cases)}
    sizes = sizes if by_size else None
    whole = split_cases(cases, None, 2, fold=1, folds=3, seed=seed, sizes=sizes)
    for size in range(1, len(whole.train) + 1):
        split = split_cases(cases, size, 2, fold=1, folds=3, seed=seed, sizes=sizes)
        assert split.train == whole.train[:size]
        assert (split.validation, split.test) == (whole.validation, whole.test)


@given(cases=grouped_cases(), folds=st.integers(2, 6), seed=st.integers(0, 99))
@settings(max_examples=60, deadline=None)
def test_disjoint_training_sets_share_no_group_and_test_on_all_others(cases, folds, seed):
    everything = {case.group for case in cases}
    splits = [
        split_cases(cases, 1, fold=fold, folds=folds, seed=seed, disjoint=True)
        for fold in range(folds)
    ]
    trained = [groups_of(cases, split.train) for split in splits]
    assert sum(map(len, trained)) == len(set().union(*trained))
    for split, own in zip(splits, trained, strict=True):
        assert groups_of(cases, split.test) == everything - own


@given(cases=grouped_cases(), seed=st.integers(0, 99))
@settings(max_examples=60, deadline=None)
def test_disjoint_training_sets_are_nested_too(cases, seed):
    whole = split_cases(cases, None, folds=2, seed=seed, disjoint=True)
    for size in range(1, len(whole.train) + 1):
        split = split_cases(cases, size, folds=2, seed=seed, disjoint=True)
        assert split.train == whole.train[:size]
        assert set(whole.test) <= set(split.test)


@given(cases=grouped_cases(), size=st.integers(1, 12), seed=st.integers(0, 99))
@settings(max_examples=60, deadline=None)
def test_development_cases_are_whole_groups_in_any_order_of_the_cases(cases, size, seed):
    assume(size + 4 < len(cases))
    chosen = development_keys(cases, size, seed=seed)
    assert size <= len(chosen) < size + 4
    assert chosen == development_keys(cases[::-1], size, seed=seed)
    kept = {case.key for case in cases} - chosen
    assert not groups_of(cases, chosen) & groups_of(cases, kept)


def test_a_disjoint_set_that_is_too_large_is_refused():
    fault = complaint(lambda: split_cases(make_cases(20), 5, disjoint=True))
    assert "in the fold, 4 are left" in fault


def test_development_cases_that_leave_nothing_are_refused():
    assert "leave none" in complaint(lambda: development_keys(make_cases(10), 10))


@given(cases=grouped_cases(), folds=st.integers(2, 6), seed=st.integers(0, 99))
@settings(max_examples=100, deadline=None)
def test_folds_hold_each_label_in_proportion(cases, folds, seed):
    label = {case.group: case.label for case in cases}
    counts = [
        Counter(
            label[group]
            for group in groups_of(
                cases, split_cases(cases, fold=fold, folds=folds, seed=seed).test
            )
        )
        for fold in range(folds)
    ]
    for name in set(label.values()):
        assert max(c[name] for c in counts) - min(c[name] for c in counts) <= 1
    assert max(c.total() for c in counts) - min(c.total() for c in counts) <= 1


@given(cases=grouped_cases(), seed=st.integers(0, 99), data=st.data())
@settings(max_examples=60, deadline=None)
def test_order_of_the_cases_does_not_matter(cases, seed, data):
    shuffled = data.draw(st.permutations(cases))
    assert split_cases(shuffled, 1, 1, seed=seed) == split_cases(cases, 1, 1, seed=seed)


# --- strata -------------------------------------------------------------------------------------


@pytest.mark.parametrize(("counts", "folds"), [((80, 20), 5), ((50, 50), 2), ((60, 30, 10), 10)])
def test_labels_in_proportion_where_their_numbers_and_the_folds_beat(counts, folds):
    cases = [case for label, n in zip("abc", counts, strict=False) for case in make_cases(n, label)]
    for fold in range(folds):
        test = Counter(key[0] for key in split_cases(cases, fold=fold, folds=folds).test)
        assert tuple(test[label] * folds for label in "abc"[: len(counts)]) == counts


@pytest.mark.parametrize("size", [10, 20, 40])
def test_small_training_sets_hold_each_label_in_proportion(size):
    cases = [*make_cases(75, "a"), *make_cases(25, "b")]
    train = Counter(key[0] for key in split_cases(cases, size).train)
    assert abs(train["b"] - size / 4) <= 1


@pytest.mark.parametrize("size", [12, 24])
def test_each_third_of_size_in_proportion(size):
    cases = [*make_cases(60, "a"), *make_cases(30, "b")]
    sizes = {case.key: int(case.key[1:]) ** 2 / 1000 for case in cases}

    def thirds(keys):
        return Counter((key[0], int(key[1:]) * 3 // {"a": 60, "b": 30}[key[0]]) for key in keys)

    for fold in range(5):
        split = split_cases(cases, size, fold=fold, sizes=sizes)
        test, train = thirds(split.test), thirds(split.train)
        assert {test["a", third] for third in range(3)} == {4}
        assert {test["b", third] for third in range(3)} == {2}
        assert all(abs(train["a", third] - size * 2 / 9) <= 1 for third in range(3))
        assert all(abs(train["b", third] - size / 9) <= 1 for third in range(3))


def test_size_of_a_group_is_the_mean_of_its_cases():
    cases = [make_case(f"g{group}-{view}", f"g{group}") for group in range(9) for view in (0, 1)]
    sizes = {case.key: int(case.group[1:]) + (5 if case.key[-1] == "0" else -5) for case in cases}
    for fold in range(3):
        groups = groups_of(cases, split_cases(cases, fold=fold, folds=3, sizes=sizes).test)
        assert {int(group[1:]) // 3 for group in groups} == {0, 1, 2}


@pytest.mark.parametrize("size", [None, float("nan"), float("inf")])
def test_unknown_sizes_are_refused_by_key(size):
    cases = make_cases(10)
    sizes = {case.key: 0.1 for case in cases} | {"004": size}
    if size is None:
        del sizes["004"]
    assert "['004']" in complaint(lambda: split_cases(cases, sizes=sizes))


# --- the same on every machine ------------------------------------------------------------------


def test_golden_order():
    split = split_cases(make_cases(12), 4, 2, fold=1, folds=4, seed=3)
    assert split == Split(
        train=("006", "002", "000", "004"),
        validation=("005", "003"),
        test=("011", "007", "010"),
    )


@pytest.mark.parametrize(
    ("seed", "fold", "digest"),
    [
        (0, 0, "7b8764dcb56664c2c65766e8032c7ff9adb426a13afe108b914769ee1fe730df"),
        (7, 3, "aa412366d5d9e2f2002af0853d91dee885de617e4562edbc8b775c2e0f66d2a4"),
    ],
)
def test_golden_digests(seed, fold, digest):
    cases = [
        make_case(f"{label}{number}-{view}", f"{label}{number}", label)
        for label, count in (("benign", 21), ("malignant", 13), ("normal", 6))
        for number in range(count)
        for view in range(1 + number % 2)
    ]
    sizes = {case.key: index % 17 / 17 for index, case in enumerate(cases)}
    assert split_cases(cases, 10, 4, fold=fold, seed=seed, sizes=sizes).digest == digest


def test_golden_digest_of_the_simulated_set():
    split = split_cases(load("simulated-ultrasound").cases, 40, 20)
    assert split.digest == "0ba2b4f411636df2c4d64dfeaa672812ee8fc6e74580f8cfcde231d7c6f216c2"


def test_digest_tells_splits_apart():
    cases = make_cases(20)
    digests = {
        split_cases(cases, size, validation, fold=fold, folds=5, seed=seed).digest
        for size in (3, 4)
        for validation in (0, 2)
        for fold in (0, 1)
        for seed in (0, 1)
    }
    assert len(digests) == 16


# --- official divisions ---------------------------------------------------------------------------


def test_official_folds():
    cases = make_cases(12)
    official = {case.key: int(case.key) % 3 for case in cases}
    for fold in range(3):
        split = split_cases(cases, 4, 2, fold=fold, folds=3, official=official)
        assert {official[key] for key in split.test} == {fold}
        assert len(split.test) == 4
        assert fold not in {official[key] for key in split.train + split.validation}


def test_official_parts_with_validation():
    cases = make_cases(20)
    parts = ["train"] * 10 + ["validation"] * 4 + ["test"] * 6
    official = {case.key: part for case, part in zip(cases, parts, strict=True)}
    split = split_cases(cases, None, 4, official=official)
    for name, keys in vars(split).items():
        assert sorted(keys) == [key for key, part in official.items() if part == name]
    assert len(split_cases(cases, 5, 2, official=official).validation) == 2
    assert "4 for validation" in complaint(lambda: split_cases(cases, 5, 5, official=official))


def test_official_parts_without_validation_take_it_from_training():
    cases = make_cases(20)
    official = {case.key: "test" if int(case.key) < 5 else "train" for case in cases}
    split = split_cases(cases, 10, 5, official=official)
    assert set(split.train) | set(split.validation) == {f"{n:03d}" for n in range(5, 20)}
    assert sorted(split.test) == [f"{n:03d}" for n in range(5)]


@pytest.mark.parametrize(
    ("official", "options", "fault"),
    [
        ({"a": 0, "b": 1}, {"folds": 2}, "lacks ['c', 'd']"),
        (dict.fromkeys("abcd", 0), {"disjoint": True}, "cannot be disjoint"),
        (dict.fromkeys("abcd", 0) | {"b": 1}, {"folds": 2}, "splits these groups: ['pair']"),
        (
            {"a": 0, "b": 0, "c": 1, "d": 2},
            {},
            "5 folds: the official division has the folds 0, 1, 2",
        ),
        (dict.fromkeys("abc", "train") | {"d": "later"}, {}, "later"),
        (dict.fromkeys("abc", "train") | {"d": "validation"}, {}, "it needs train and test"),
        (dict.fromkeys("abc", "train") | {"d": "test"}, {"fold": 1}, "fold is 0"),
    ],
)
def test_official_division_that_does_not_fit(official, options, fault):
    cases = [make_case("a", "pair"), make_case("b", "pair"), make_case("c"), make_case("d")]
    assert fault in complaint(lambda: split_cases(cases, official=official, **options))


# --- refusals -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "fault"),
    [
        ({"folds": 1}, "fold 0 of 1"),
        ({"fold": 5}, "fold 5 of 5"),
        ({"fold": -1}, "fold -1 of 5"),
        ({"folds": 11}, "11 folds need at least 11 groups, but there are 10"),
        ({"train_size": 0}, "train_size must be at least 1"),
        ({"train_size": -3}, "not -3"),
        ({"validation_size": -1}, "validation_size must be at least 0, not -1"),
        ({"train_size": 9}, "9 training and 0 validation images were requested"),
        ({"train_size": 6, "validation_size": 3}, "5 are left for training after 3"),
        ({"validation_size": 8}, "all training and 8 validation"),
        ({"validation_size": 9}, "0 are left for training after 8"),
    ],
)
def test_what_cannot_be_split(options, fault):
    assert fault in complaint(lambda: split_cases(make_cases(10), **options))


def test_repeated_keys_are_refused():
    assert "['003']" in complaint(lambda: split_cases([*make_cases(10), make_case("003", "x")]))


def test_leak_is_raised_even_if_cases_change_their_group():
    class Fickle:
        label = ""

        def __init__(self, key):
            self.key = key
            self.asked = 0

        @property
        def group(self):
            self.asked += 1
            return self.key if self.asked == 1 else "everyone"

    cases = [Fickle(str(number)) for number in range(10)]
    assert "everyone" in complaint(lambda: split_cases(cases), AssertionError)


def test_group_cut_short_is_not_continued_elsewhere():
    cases = [make_case(f"{group}-{view}", str(group)) for group in range(10) for view in range(5)]
    split = split_cases(cases, 7, 3)
    parts = defaultdict(set)
    for name, keys in vars(split).items():
        for group in groups_of(cases, keys):
            parts[group].add(name)
    assert all(len(names) == 1 for names in parts.values())
    assert Counter(key.split("-")[0] for key in split.train).most_common(1)[0][1] == 5
