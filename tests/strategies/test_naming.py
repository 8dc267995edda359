"""The shortest name of what trains: right for any set of layers, and readable."""

from __future__ import annotations

import pytest
from hypothesis import given, settings, strategies as st

from kerasunet.strategies import NetworkLayout, WeightRef, name_of, parse

LAYOUTS = [
    NetworkLayout.unet(4),
    NetworkLayout.unet(2, None),
    NetworkLayout.unet(1, "group"),
    NetworkLayout.unet(5),
]


@pytest.mark.parametrize(
    ("given_text", "name"),
    [
        ("shallow:9", "all"),
        ("none", "none"),
        ("shallow:5", "contracting"),
        ("deep:4", "expanding"),
        ("blocks:enc1,2,enc3", "shallow:3"),
        ("enc1+dec1+enc2+dec2", "outer:2"),
        ("inner:1", "bottleneck"),
        ("blocks:1,2,3,7", "blocks:1-3,7"),
        ("enc3", "enc3"),
        ("enc1_conv1", "enc1_conv1"),
        ("all-norm-head", "all-norm-head"),
        ("shallow:3+dec1_up", "shallow:3+dec1_up"),
        ("all-bottleneck_conv2", "all-bottleneck_conv2"),
        ("dec1_up+enc1_conv1", "enc1_conv1+dec1_up"),
        ("contracting&norm", "contracting&norm"),
        ("bias", "bias"),
    ],
)
def test_the_name_is_the_shortest_that_people_know(given_text, name):
    layout = LAYOUTS[0]
    found = name_of(parse(given_text).select(layout), layout)
    assert parse(found).select(layout) == parse(given_text).select(layout)
    assert found == name


@st.composite
def sets_of_layers(draw):
    layout = draw(st.sampled_from(LAYOUTS))
    layers = draw(st.sets(st.sampled_from(layout.layers)))
    return layout, frozenset(w for w in layout.weights if w.layer in layers)


@given(sets_of_layers())
@settings(max_examples=150, deadline=None)
def test_every_set_of_layers_has_a_name_that_selects_it(drawn):
    layout, weights = drawn
    text = name_of(weights, layout)
    assert parse(text).select(layout) == weights
    assert str(parse(text)) == text


def test_a_whole_study_of_names_is_kept():
    layout = LAYOUTS[0]
    for count in range(1, 5):
        for rule in ("shallow", "deep"):
            text = f"{rule}:{count}"
            kept = "expanding" if text == "deep:4" else text
            assert name_of(parse(text).select(layout), layout) == kept


def test_part_of_a_layer_that_no_kind_tells_is_refused():
    layout = LAYOUTS[0]
    gamma = WeightRef("enc1", "enc1_norm1", "gamma", kind="norm")
    with pytest.raises(ValueError, match="these 1 weights"):
        name_of([gamma], layout)
