"""The strategy language: what each text selects, what each mistake says, and the set algebra."""

import re
import subprocess
import sys
from operator import and_, or_, sub
from pathlib import Path

import pytest
from hypothesis import assume, given, settings, strategies as st

from kerasunet.strategies import (
    NetworkLayout,
    StrategyError,
    WeightRef,
    describe_grammar,
    expand,
    parse,
)

UNET = NetworkLayout.unet()
NINE = ["enc1", "enc2", "enc3", "enc4", "bottleneck", "dec4", "dec3", "dec2", "dec1"]
BLOCKS_HINT = f"Blocks: {', '.join(NINE)}"
unhurried = settings(deadline=None)  # a busy machine is no failure


def select(text, layout=UNET):
    return parse(text).select(layout)


def in_blocks(layout, blocks):
    return {weight for weight in layout.weights if weight.block in blocks}


def in_layers(layout, layers):
    return {weight for weight in layout.weights if weight.layer in layers}


def message(text, layout=UNET):
    with pytest.raises(StrategyError) as caught:
        select(text, layout)
    return str(caught.value)


# --- layout -------------------------------------------------------------------------------------


def spell(layout):
    return [f"{w.block} {w.layer} {w.name} {w.kind}" for w in layout.weights]


@pytest.mark.parametrize("normalization", ["batch", "group"])
def test_weights_of_the_smallest_normalized_unet(normalization):
    def double(block):
        for number in "12":
            yield f"{block} {block}_conv{number} kernel kernel"
            yield f"{block} {block}_norm{number} gamma norm"
            yield f"{block} {block}_norm{number} beta norm"

    assert spell(NetworkLayout.unet(1, normalization)) == [
        *double("enc1"),
        *double("bottleneck"),
        "dec1 dec1_up kernel kernel",
        "dec1 dec1_up bias bias",
        *double("dec1"),
        "dec1 head kernel kernel",
        "dec1 head bias bias",
    ]


def test_without_normalization_every_convolution_has_a_bias():
    layout = NetworkLayout.unet(1, None)
    layers = "enc1_conv1 enc1_conv2 bottleneck_conv1 bottleneck_conv2 dec1_up dec1_conv1 dec1_conv2"
    assert layout.layers == (*layers.split(), "head")
    assert [(w.layer, w.name, w.kind) for w in layout.weights] == [
        (layer, name, name) for layer in layout.layers for name in ("kernel", "bias")
    ]


def test_layout_knows_blocks_layers_and_levels():
    assert UNET.depth == 4
    assert list(UNET.blocks) == NINE
    assert [UNET.level_of(block) for block in NINE] == [1, 2, 3, 4, 5, 4, 3, 2, 1]
    assert UNET.layers_of("enc2") == ("enc2_conv1", "enc2_norm1", "enc2_conv2", "enc2_norm2")
    assert UNET.layers_of("dec1") == (
        *("dec1_up", "dec1_conv1", "dec1_norm1", "dec1_conv2", "dec1_norm2", "head"),
    )
    assert [layer for block in UNET.blocks for layer in UNET.layers_of(block)] == list(UNET.layers)


@pytest.mark.parametrize("ask", [UNET.layers_of, UNET.level_of])
def test_layout_refuses_an_unknown_block(ask):
    with pytest.raises(ValueError, match="^enc7: no such block. Blocks: enc1, enc2"):
        ask("enc7")


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        ({"depth": 0}, "depth=0: must be at least 1"),
        ({"normalization": "layer"}, "normalization='layer': must be one of"),
    ],
)
def test_unet_refuses_impossible_settings(arguments, problem):
    with pytest.raises(ValueError, match=problem):
        NetworkLayout.unet(**arguments)


def kernels(*places):
    return tuple(WeightRef(*place.split("/"), "kernel", "kernel") for place in places)


def test_a_layout_of_other_weights_is_read_by_position():
    layout = NetworkLayout(kernels("Down/a", "middle/b", "up/c"))
    assert layout.depth == 1
    assert select("contracting", layout) == in_blocks(layout, {"Down", "middle"})
    assert select("bottleneck", layout) == in_blocks(layout, {"middle"})
    assert select("inner:1+c", layout) == in_blocks(layout, {"middle", "up"})
    assert select("DOWN", layout) == in_blocks(layout, {"Down"})


@pytest.mark.parametrize(
    ("weights", "problem"),
    [
        (kernels("a/x", "b/y", "a/z"), "block a is listed twice"),
        (kernels("a/x", "b/x", "c/z"), "layer x is listed twice"),
        (kernels("a/x", "a/x", "b/y", "c/z"), "weight x/kernel is listed twice"),
        (kernels("a/x", "b/y"), "2D.1 blocks, 3 or more; got 2: a, b"),
        (kernels("a/x"), "got 1: a"),
        (kernels("a/w", "b/x", "c/y", "d/z"), "got 4: a, b, c, d"),
        ((), "got 0: "),
    ],
)
def test_layout_refuses_what_is_no_unet(weights, problem):
    with pytest.raises(ValueError, match=problem):
        NetworkLayout(weights)


def test_weight_refuses_an_unknown_kind():
    with pytest.raises(ValueError, match="enc1_norm1/moving_mean: kind is 'statistic'"):
        WeightRef("enc1", "enc1_norm1", "moving_mean", kind="statistic")


# --- what each text selects ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "blocks"),
    [
        ("all", "enc1 enc2 enc3 enc4 bottleneck dec4 dec3 dec2 dec1"),
        ("none", ""),
        ("(none)", ""),
        ("contracting", "enc1 enc2 enc3 enc4 bottleneck"),
        ("expanding", "dec4 dec3 dec2 dec1"),
        ("bottleneck", "bottleneck"),
        ("shallow:1", "enc1"),
        ("shallow:6", "enc1 enc2 enc3 enc4 bottleneck dec4"),
        ("deep:1", "dec1"),
        ("deep:3", "dec3 dec2 dec1"),
        ("outer:1", "enc1 dec1"),
        ("outer:3", "enc1 enc2 enc3 dec3 dec2 dec1"),
        ("inner:1", "bottleneck"),
        ("inner:2", "enc4 bottleneck dec4"),
        ("blocks:9", "dec1"),
        ("blocks:1-3,7", "enc1 enc2 enc3 dec3"),
        ("blocks:enc1,dec2", "enc1 dec2"),
        ("blocks:dec*,5", "bottleneck dec4 dec3 dec2 dec1"),
        ("enc1", "enc1"),
        ("dec?", "dec4 dec3 dec2 dec1"),
        ("*", "enc1 enc2 enc3 enc4 bottleneck dec4 dec3 dec2 dec1"),
        ("enc1+dec1", "enc1 dec1"),
        ("shallow:3-shallow:1", "enc2 enc3"),
        ("all-enc1-enc2+enc1", "enc1 enc3 enc4 bottleneck dec4 dec3 dec2 dec1"),
        ("all-(enc1+bottleneck)", "enc2 enc3 enc4 dec4 dec3 dec2 dec1"),
        ("contracting&inner:2", "enc4 bottleneck"),
        ("enc1+expanding&outer:1", "enc1 dec1"),
        ("(enc1+expanding)&outer:1", "enc1 dec1"),
        ("(enc2+expanding)&outer:1", "dec1"),
        ("all-expanding&inner:2", "enc1 enc2 enc3 enc4 bottleneck dec3 dec2 dec1"),
        ("blocks:1-3-enc2", "enc1 enc3"),
        ("blocks:enc*-enc2", "enc1 enc3 enc4"),
        ("(blocks:enc1,enc2)-enc2", "enc1"),
        ("  Shallow :\t2 ", "enc1 enc2"),
        ("BLOCKS: 1 - 2 , DEC1", "enc1 enc2 dec1"),
    ],
)
def test_blocks_selected(text, blocks):
    assert select(text) == in_blocks(UNET, set(blocks.split()))


@pytest.mark.parametrize(
    ("text", "layers"),
    [
        ("dec2_conv1", "dec2_conv1"),
        ("dec2_up", "dec2_up"),
        ("head", "head"),
        ("enc*_conv1", "enc1_conv1 enc2_conv1 enc3_conv1 enc4_conv1"),
        ("bottleneck_norm?", "bottleneck_norm1 bottleneck_norm2"),
        ("enc1_*&*_conv?", "enc1_conv1 enc1_conv2"),
        ("dec1-dec1_*", "head"),
        ("enc1&norm", "enc1_norm1 enc1_norm2"),
        ("blocks:1-1,2-norm", "enc1_conv1 enc1_conv2 enc2_conv1 enc2_conv2"),
        ("blocks:enc1-norm", "enc1_conv1 enc1_conv2"),
    ],
)
def test_layers_selected(text, layers):
    assert select(text) == in_layers(UNET, set(layers.split()))


def test_a_glob_matches_blocks_and_layers():
    endings = {name for name in UNET.layers if name.endswith("1")}
    assert select("*1") == in_blocks(UNET, {"enc1", "dec1"}) | in_layers(UNET, endings)


def test_kinds_selected():
    assert {(w.layer, w.name) for w in select("bias")} == {
        (layer, "bias") for layer in ("dec4_up", "dec3_up", "dec2_up", "dec1_up", "head")
    }
    assert {w.layer for w in select("norm")} == {name for name in UNET.layers if "norm" in name}
    assert {w.name for w in select("norm")} == {"gamma", "beta"}
    assert {w.layer for w in select("kernel")} == {n for n in UNET.layers if "norm" not in n}
    assert {w.name for w in select("kernel")} == {"kernel"}
    assert select("*_norm?") == select("norm")


def test_auto_is_known_without_a_network():
    assert parse("auto").is_auto and parse("(AUTO : search)").is_auto
    assert not parse("all").is_auto and not parse("enc1+dec1").is_auto
    assert parse("auto") != parse("auto:search")


# --- canonical text -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "canonical"),
    [
        (" ALL ", "all"),
        ("Auto : Search", "auto:search"),
        ("shallow : 007", "shallow:7"),
        ("blocks: 01 - 3 , 7-7, Enc1", "blocks:1-3,7,enc1"),
        ("((enc1) + (dec1))", "enc1+dec1"),
        ("(enc1+dec1)-norm", "enc1+dec1-norm"),
        ("enc1+(dec1-norm)", "enc1+(dec1-norm)"),
        ("(all&enc1)&norm", "all&enc1&norm"),
        ("all&(enc1&norm)", "all&(enc1&norm)"),
        ("(enc1+dec1)&norm", "(enc1+dec1)&norm"),
        ("enc1+(dec1&norm)", "enc1+dec1&norm"),
        ("(blocks:enc1)-enc2", "(blocks:enc1)-enc2"),
        ("(blocks:enc1)-(enc2&norm)", "(blocks:enc1)-enc2&norm"),
        ("norm+(blocks:1)-bottleneck", "(norm+blocks:1)-bottleneck"),
        ("(blocks:1-2)-enc2", "blocks:1-2-enc2"),
        ("(blocks:enc1)-norm", "blocks:enc1-norm"),
        ("(blocks:enc*)-enc2", "blocks:enc*-enc2"),
    ],
)
def test_canonical_text(text, canonical):
    strategy = parse(text)
    assert str(strategy) == canonical
    assert parse(canonical) == strategy
    assert repr(strategy) == f"parse({canonical!r})"


def test_expand_lists_every_count():
    layout = NetworkLayout.unet(depth=2)
    assert expand("shallow:*", layout) == [f"shallow:{k}" for k in (1, 2, 3, 4, 5)]
    assert expand(" DEEP : * ", layout) == [f"deep:{k}" for k in (1, 2, 3, 4, 5)]
    assert expand("outer:*", layout) == ["outer:1", "outer:2", "outer:3"]
    assert expand("inner:*", layout) == ["inner:1", "inner:2", "inner:3"]
    assert expand("( Shallow:3 & norm )", layout) == ["shallow:3&norm"]
    assert expand("enc*", layout) == ["enc*"]


@pytest.mark.parametrize("pattern", ["blocks:*+", "shallow:*&norm", "", "all:*"])
def test_expand_refuses_other_patterns(pattern):
    with pytest.raises(StrategyError):
        expand(pattern, UNET)


def test_grammar_table_lists_what_the_parser_takes():
    rows = [line.split("  ")[0] for line in describe_grammar().splitlines()]
    texts = [
        text.replace(":K", ":2").replace("*A", "*all") for row in rows for text in row.split(", ")
    ]
    assert [str(parse(text)) for text in texts if text != "(A)"] == [
        text.lower() for text in texts if text != "(A)"
    ]
    assert {"all", "none", "shallow:2", "inner:2", "blocks:1-3,7", "norm", "auto"} <= set(texts)
    assert max(map(len, describe_grammar().splitlines())) <= 100


# --- rates and statistics -----------------------------------------------------------------------

SOFT = {
    "contracting+0.1*expanding": ({"contracting": 1, "expanding": 0.1}, 0),
    "0.5*all": ({"all": 0.5}, 0),
    "0.1*(contracting+enc1)": ({"contracting": 0.1}, 0),
    "2*shallow:3+1e-3*deep:2": ({"shallow:3": 2, "deep:2": 0.001}, 0),
    "0.1*all&norm": ({"norm": 0.1}, 0),
    "0.1*0.5*enc1": ({"enc1": 0.05}, 0),
    "10*10*0.1*enc1": ({"enc1": 10}, 0),
    "0.1*0.1*enc1+0.01*enc1": ({"enc1": 0.01}, 0),
    "0.1*enc1&0.1*norm": ({"enc1&norm": 0.1}, 0),
    "norm&0.1*(all-enc1)": ({"norm-enc1": 0.1}, 0),
    "blocks:1-3-norm+0.1*norm": ({"blocks:1-3-norm": 1, "norm": 0.1}, 0),
    "0.1*blocks:1,3": ({"enc1+enc3": 0.1}, 0),
    "0.1*(bias+statistics)": ({"bias": 0.1}, 18),
    "expanding-norm+statistics": ({"expanding-norm": 1}, 18),
    "statistics": ({}, 18),
    "expanding+statistics": ({"expanding": 1}, 10),
    "statistics&enc1": ({}, 2),
    "bias+statistics-enc1": ({"bias": 1}, 16),
    "norm+statistics": ({"norm": 1}, 0),
}


@pytest.mark.parametrize("text", SOFT)
def test_rates_and_statistics(text):
    expected, statistics = SOFT[text]
    strategy = parse(text)
    assert str(strategy) == text.replace("1e-3", "0.001") and parse(str(strategy)) == strategy
    assert strategy.rates(UNET) == pytest.approx(
        {weight: rate for part, rate in expected.items() for weight in select(part)}
    )
    assert len(strategy.statistics(UNET)) == statistics


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (
            "all+0.1*expanding",
            "dec1_conv1 is claimed at 1 and at 0.1 times the rate; claim it once",
        ),
        ("0*all", "a rate factor must be above 0 and at most 10"),
        ("10.5*all", "a rate factor must be above 0 and at most 10"),
        ("0.1*", "expected a strategy, found the end"),
        ("0.1*auto", "it must stand alone"),
        ("0.1*none", "selects no weight"),
        ("0.1*enc1&0.5*norm", "enc1_norm1 is claimed at 0.1 and at 0.5 times the rate"),
        ("10*10*enc1", "multiply to 100; a rate factor must be above 0 and at most 10"),
        ("1e-300*1e-300*head", "the factors of head multiply to 0;"),
        ("0.1*statistics", "statistics have no learning rate; leave out 0.1*"),
        ("all-0.1*enc1", "what - subtracts does not train at any rate"),
        ("blocks:1-0.1*enc1", "what - subtracts does not train at any rate"),
        ("0.1*blocks:1-enc2", "to subtract, write (blocks:1)-enc2"),
        ("shallow:0.5*enc1", "shallow needs a number, as in shallow:3, found '0.5*'"),
        ("all-statistics", "the statistics of a layer that trains move with it"),
        ("0.1 contracting", "unexpected '.' at position 2"),
    ],
)
def test_impossible_rates_and_statistics_are_refused(text, problem):
    assert problem in message(text)


def test_equal_trainings_have_equal_effects_and_others_do_not():
    def effect(text):
        return parse(text).effect(UNET)

    assert effect("contracting") == effect("shallow:5") == effect("all-expanding")
    assert effect("0.5*0.2*all") == effect("0.1*(contracting+expanding)")
    texts = ["all", "0.1*all", "contracting+0.1*expanding", "all-norm", "kernel", "rgn", "rgn^0.5"]
    texts += ["none", "statistics", "expanding", "expanding+statistics"]
    assert len({effect(text) for text in texts}) == len(texts)


def test_without_batch_normalization_there_are_no_statistics():
    for normalization in ("group", None):
        assert "no batch normalization" in message(
            "statistics", NetworkLayout.unet(2, normalization)
        )


@unhurried
@given(st.floats(1e-6, 10), st.sampled_from(["enc1", "shallow:3", "norm&deep:2", "all-enc1"]))
def test_a_factor_scales_every_rate_and_selects_the_same(factor, text):
    strategy = parse(f"{factor}*({text})")
    assert parse(str(strategy)) == strategy
    assert strategy.rates(UNET) == dict.fromkeys(strategy.select(UNET), factor)
    assert strategy.select(UNET) == select(text)


# --- errors -------------------------------------------------------------------------------------

UNKNOWN_TO_THE_NETWORK = {
    "shallow:12": "this U-Net has 9 blocks, so K must be 1 to 9",
    "shallow:0": "this U-Net has 9 blocks, so K must be 1 to 9",
    "deep:10": "this U-Net has 9 blocks, so K must be 1 to 9",
    "outer:6": "this U-Net has 5 levels, so K must be 1 to 5",
    "inner:0": "this U-Net has 5 levels, so K must be 1 to 5",
    "blocks:0": "this U-Net has 9 blocks, so numbers must be 1 to 9",
    "blocks:1,8-10": "this U-Net has 9 blocks, so numbers must be 1 to 9",
    "blocks:enc1,enc7": f"no block is named enc7; did you mean enc1? {BLOCKS_HINT}",
    "blocks:head": f"no block is named head. {BLOCKS_HINT}",
    "enc7": f"no block or layer of this name; did you mean enc1? {BLOCKS_HINT}",
    "dec2_cnv1": f"no block or layer of this name; did you mean dec2_conv1? {BLOCKS_HINT}",
    "contractng": f"no block or layer of this name; did you mean contracting? {BLOCKS_HINT}",
    "shallow3": f"no block or layer of this name; did you mean shallow:K? {BLOCKS_HINT}",
    "xyz*": f"no block or layer of this name. {BLOCKS_HINT}",
    "contracting&expanding": "selects no weight; write none to train nothing",
    "none+none": "selects no weight; write none to train nothing",
    "enc1-contracting": "selects no weight; write none to train nothing",
    "auto": "auto is resolved from training images; it has no weights itself",
    "auto:search": "auto is resolved from training images; it has no weights itself",
}


@pytest.mark.parametrize(("text", "problem"), UNKNOWN_TO_THE_NETWORK.items())
def test_error_of_what_the_network_lacks(text, problem):
    assert message(text) == f"{text}: {problem}"


def test_error_names_the_term_and_not_the_whole_text():
    assert message("norm + Shallow:12 - head").startswith("shallow:12: this U-Net has 9 blocks")


def test_error_of_a_kind_that_does_not_exist():
    plain = NetworkLayout.unet(normalization=None)
    bare = NetworkLayout(kernels("a/x", "b/y", "c/z"))
    assert message("all-norm", plain) == "norm: this U-Net has no norm weights; it has kernel, bias"
    assert message("bias", bare) == "bias: this U-Net has no bias weights; it has kernel"


def test_limits_follow_the_depth():
    assert (
        message("deep:4", NetworkLayout.unet(1))
        == "deep:4: this U-Net has 3 blocks, so K must be 1 to 3"
    )
    assert (
        message("outer:3", NetworkLayout.unet(1))
        == "outer:3: this U-Net has 2 levels, so K must be 1 to 2"
    )


MALFORMED = {
    "enc1+": "'+' at position 5 needs a strategy on its right, found the end",
    "enc1 + & dec1": "'+' at position 6 needs a strategy on its right, found '&' at position 8",
    "enc1-)": "'-' at position 5 needs a strategy on its right, found ')' at position 6",
    "-enc1": "'-' at position 1 needs a strategy on its left",
    "(&enc1)": "'&' at position 2 needs a strategy on its left",
    "()": "expected a strategy, found ')' at position 2",
    "(": "expected a strategy, found the end",
    ":3": "expected a strategy, found ':' at position 1",
    "(enc1": "'(' at position 1 is never closed",
    "enc1+((dec1)": "'(' at position 6 is never closed",
    "enc1)": "')' at position 5 closes nothing",
    "enc1 dec1": "expected +, - or & before 'dec1' at position 6",
    "enc1(dec1)": "expected +, - or & before '(' at position 5",
    "enc1,dec1": "',' at position 5 is only for blocks:1,2; join strategies with +",
    "enc1 | dec1": "unexpected '|' at position 6",
    "blocks:1–3": "unexpected '–' at position 9",
    "3": "'3' at position 1 is not a strategy; write blocks:3",
    "shallow": "shallow needs a number, as in shallow:3",
    "inner:": "inner needs a number, as in inner:3, found the end",
    "deep:x": "deep needs a number, as in deep:3, found 'x' at position 6",
    "outer:-1": "outer needs a number, as in outer:3, found '-' at position 7",
    "shallow:*": "shallow:* means every K and is for studies; give one number here",
    "blocks": "blocks needs a list, as in blocks:1-3,7",
    "blocks:": "blocks needs a number or a name, as in blocks:1-3,7, found the end",
    "blocks:1,": "blocks needs a number or a name, as in blocks:1-3,7, found the end",
    "blocks:5-2": "5-2 runs backward; write 2-5",
    "blocks:1-": "'-' at position 9 needs a strategy on its right, found the end",
    "blocks:enc1-enc3": (
        "a range takes two numbers, as in blocks:1-3; to subtract, write (blocks:enc1)-enc3"
    ),
    "blocks:1,2-bottleneck": (
        "a range takes two numbers, as in blocks:1-3; to subtract, write (blocks:2)-bottleneck"
    ),
    "outr:3": "'outr' at position 1 takes nothing after a colon; did you mean outer?",
    "enc1:3": "'enc1' at position 1 takes nothing after a colon",
    "auto:fast": "auto takes nothing but search, as in auto:search, found 'fast' at position 6",
    "auto+enc1": "auto is resolved from training images; it must stand alone",
    "all-auto:search": "auto is resolved from training images; it must stand alone",
    "scratch": "scratch is a kind of initial weights, not a strategy; use --init scratch",
    "enc1+Scratch": "scratch is a kind of initial weights, not a strategy; use --init scratch",
}


@pytest.mark.parametrize(("text", "problem"), MALFORMED.items())
def test_error_of_malformed_text(text, problem):
    with pytest.raises(StrategyError) as caught:
        parse(text)
    assert str(caught.value) == f"{text}: {problem}"


@pytest.mark.parametrize("value", [None, True, ["enc1", "enc2"], 3])
def test_error_of_what_is_no_text(value):
    with pytest.raises(StrategyError, match="a strategy is text, such as 'shallow:3'"):
        parse(value)


@pytest.mark.parametrize("text", ["", " \t\n"])
def test_error_of_empty_text(text):
    with pytest.raises(StrategyError, match="^the strategy is empty; write all, .* none"):
        parse(text)


def test_error_stays_one_printable_line():
    with pytest.raises(StrategyError) as caught:
        parse("enc1\n\ud800")
    assert str(caught.value) == "enc1\\n\\ud800: unexpected '\\ud800' at position 6"


@pytest.mark.parametrize("text", ["all" * 5000, "(" * 10_000, "all+" * 251, " " * 1001])
def test_overlong_text_is_refused_and_not_repeated(text):
    with pytest.raises(StrategyError, match=f"at most 1000 characters, got {len(text)}") as caught:
        parse(text)
    assert len(str(caught.value)) < 200


@pytest.mark.parametrize(
    "text",
    [
        "(" * 498 + "all" + ")" * 498,
        "all" + "&all" * 249,
        "all" + "-(norm" * 140 + ")" * 140,
    ],
)
def test_deepest_nesting_needs_no_recursion(text):
    strategy = parse(text)
    assert parse(str(strategy)) == strategy
    assert hash(parse(str(strategy))) == hash(strategy)
    assert strategy.select(UNET)


@pytest.mark.parametrize("text", ["*a" * 499 + "b", "?*" * 500, "blocks:" + "*a" * 490 + "b"])
def test_absurd_globs_return_at_once(text):
    layout = NetworkLayout(
        kernels(*(f"{'a' * length}/{'a' * length}_" for length in (300, 400, 450)))
    )
    assert len(message(text, layout)) < 4000


def test_absurd_numbers_are_refused():
    assert message("shallow:" + "9" * 900).endswith("K must be 1 to 9")
    assert message("blocks:1-" + "9" * 900).endswith("numbers must be 1 to 9")


# --- properties ---------------------------------------------------------------------------------

LAYOUTS = st.builds(
    NetworkLayout.unet, st.integers(1, 7), st.sampled_from(["batch", "group", None])
)
NAMES = st.sampled_from(["enc1", "dec1_conv2", "head", "*_conv?", "bottleneck", "dec*", "*"])


def leaves(layout):
    blocks = st.integers(1, len(layout.blocks))
    ranges = st.tuples(blocks, blocks).map(lambda ends: f"{min(ends)}-{max(ends)}")
    item = blocks.map(str) | ranges | st.sampled_from(layout.blocks)
    kinds = dict.fromkeys(weight.kind for weight in layout.weights)
    return st.one_of(
        st.sampled_from(["all", "none", "contracting", "expanding", *kinds]),
        st.builds("{}:{}".format, st.sampled_from(["shallow", "deep"]), blocks),
        st.builds(
            "{}:{}".format, st.sampled_from(["outer", "inner"]), st.integers(1, layout.depth + 1)
        ),
        st.lists(item, min_size=1, max_size=3).map(lambda items: "blocks:" + ",".join(items)),
        NAMES,
    )


def trees(layout):
    return st.recursive(
        leaves(layout),
        lambda tree: st.tuples(tree, st.sampled_from("+-&"), tree),
        max_leaves=10,
    )


LAYOUT_AND_TREE = LAYOUTS.flatmap(lambda layout: st.tuples(st.just(layout), trees(layout)))


def render(tree):
    return tree if isinstance(tree, str) else f"({render(tree[0])}){tree[1]}({render(tree[2])})"


def evaluate(tree, layout):
    if isinstance(tree, str):
        return select(tree, layout)
    operation = {"+": or_, "-": sub, "&": and_}[tree[1]]
    return operation(evaluate(tree[0], layout), evaluate(tree[2], layout))


@unhurried
@given(LAYOUT_AND_TREE)
def test_canonical_text_parses_back(layout_and_tree):
    text = render(layout_and_tree[1])
    strategy = parse(text)
    canonical = str(strategy)
    assert parse(canonical) == strategy
    assert hash(parse(canonical)) == hash(strategy)
    assert len(canonical) <= len(text)
    assert parse(canonical.upper().replace("&", " & ").replace(",", " , ")) == strategy


@unhurried
@given(LAYOUT_AND_TREE)
def test_operators_are_those_of_sets(layout_and_tree):
    layout, tree = layout_and_tree
    expected = evaluate(tree, layout)
    if expected or tree == "none":
        assert select(render(tree), layout) == expected
    else:
        assert "selects no weight" in message(render(tree), layout)


@unhurried
@given(LAYOUTS.flatmap(lambda layout: st.tuples(st.just(layout), *[leaves(layout)] * 3)))
def test_precedence(layout_and_leaves):
    layout, *texts = layout_and_leaves
    a, b, c = (f"({text})" for text in texts)
    assert parse(f"{a}+{b}&{c}") == parse(f"{a}+({b}&{c})")
    assert parse(f"{a}&{b}-{c}") == parse(f"({a}&{b})-{c}")
    assert parse(f"{a}-{b}+{c}") == parse(f"({a}-{b})+{c}")
    assert parse(f"{a}-{b}-{c}") != parse(f"{a}-({b}-{c})")


@unhurried
@given(LAYOUTS)
def test_every_weight_is_claimed_by_exactly_one_block(layout):
    claims = [select(f"blocks:{number}", layout) for number in range(1, len(layout.blocks) + 1)]
    assert claims == [select(block, layout) for block in layout.blocks]
    assert sum(map(len, claims)) == len(layout.weights)
    assert frozenset().union(*claims) == set(layout.weights) == select("all", layout)


@unhurried
@given(LAYOUTS)
def test_contracting_and_expanding_part_the_network(layout):
    contracting, expanding = select("contracting", layout), select("expanding", layout)
    assert not contracting & expanding
    assert contracting | expanding == select("all", layout)
    assert contracting == select(f"shallow:{layout.depth + 1}", layout)
    assert expanding == select(f"deep:{layout.depth}", layout)
    assert select("bottleneck", layout) == select("inner:1", layout)


@pytest.mark.parametrize(("first", "last"), [("shallow", "deep"), ("outer", "inner")])
@unhurried
@given(layout=LAYOUTS)
def test_counts_from_both_ends_part_the_network(first, last, layout):
    total = len(expand(f"{first}:*", layout))
    everything = select("all", layout)
    assert select(f"{first}:{total}", layout) == select(f"{last}:{total}", layout) == everything
    for count in range(1, total):
        head, tail = select(f"{first}:{count}", layout), select(f"{last}:{total - count}", layout)
        assert head | tail == everything
        assert not head & tail
        assert head < select(f"{first}:{count + 1}", layout)


FRAGMENTS = (
    "all none norm enc1 dec1 enc3 head bottleneck * enc* ? blocks: shallow: outer: auto scratch "
    "auto:search 1 3 12 - + & ( ) , : 1-3 enc1-enc3 blocks:enc1 \x00 –"
)
TEXTS = st.one_of(
    st.text(),
    st.lists(st.sampled_from([" ", *FRAGMENTS.split(" ")]), max_size=12).map("".join),
    st.text(alphabet="ab1*?:,+-&() ", max_size=30),
)


@pytest.mark.slow
@unhurried
@given(TEXTS)
def test_any_text_is_a_strategy_or_a_strategy_error(text):
    try:
        strategy = parse(text)
    except StrategyError:
        return
    assert parse(str(strategy)) == strategy
    assert len(str(strategy)) <= len(text)
    try:
        strategy.select(UNET)
    except StrategyError as error:
        assert str(error)


def is_no_factor(pattern):
    """A number before a `*` is a rate factor, and no glob."""
    return not re.match(r"\d+(e\d+)?\*", pattern)


@unhurried
@given(st.text(alphabet="enc12_v*?", min_size=1, max_size=8).filter(is_no_factor))
def test_globs_match_as_their_definition_says(pattern):
    def matches(pattern, name):
        if not pattern or not name:
            return not name and not pattern.strip("*")
        if pattern[0] == "*":
            return matches(pattern[1:], name) or matches(pattern, name[1:])
        return pattern[0] in (name[0], "?") and matches(pattern[1:], name[1:])

    assume(not pattern.isdigit())
    names = {name for name in (*UNET.blocks, *UNET.layers) if matches(pattern, name)}
    expected = in_blocks(UNET, names) | in_layers(UNET, names)
    if expected:
        assert select(pattern) == expected
    else:
        assert message(pattern).startswith(f"{pattern}: no block or layer of this name")


# --- imports ------------------------------------------------------------------------------------


def test_import_loads_the_standard_library_only():
    program = (
        "import sys; before = set(sys.modules); import kerasunet.strategies;"
        "print(*{name.split('.')[0] for name in set(sys.modules) - before})"
    )
    root = Path(__file__).resolve().parents[2]
    loaded = subprocess.run(
        [sys.executable, "-c", program], cwd=root, capture_output=True, text=True, check=True
    ).stdout.split()
    assert "kerasunet" in loaded
    assert set(loaded) - {"kerasunet"} <= sys.stdlib_module_names
