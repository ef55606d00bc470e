"""An architecture file is data that people edit: it comes back as it was, says where it is wrong, and has one canonical form."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings

from recsys_nas.space import Architecture, Block, load_architecture
from tests.recsys_nas.random_networks import hulls

FIRST = Block((0,), ("linear", "cross"), 8, ("embedded_fc",), 3)
SECOND = Block((0, 1), ("fm",), 4)
NETWORK = Architecture(2, 3, 4, (FIRST, SECOND), (1, 2))


def stored() -> dict[str, Any]:
    value: dict[str, Any] = json.loads(json.dumps(NETWORK.to_json()))
    return value


@settings(max_examples=100, deadline=None)
@given(network=hulls())
def test_json_comes_back_as_the_same_network(network: Architecture) -> None:
    assert Architecture.from_json(json.loads(json.dumps(network.to_json()))) == network


def test_the_stored_form_is_the_documented_one() -> None:
    assert stored() == {
        "version": 1,
        "num_dense": 2,
        "num_sparse": 3,
        "embedding_dim": 4,
        "blocks": [
            {"sources": [0], "dense": ["linear", "cross"], "dense_width": 8, "sparse": ["embedded_fc"], "num_tokens": 3},
            {"sources": [0, 1], "dense": ["fm"], "dense_width": 4, "sparse": [], "num_tokens": 0},
        ],
        "head": [1, 2],
        "stem": "flat",
        "normalise": True,
        "linear_skip": True,
    }


def test_fields_with_a_default_may_be_left_out() -> None:
    short = {"version": 1, "num_dense": 2, "num_sparse": 3, "embedding_dim": 4, "blocks": [{"sources": [0]}], "head": [0]}
    assert Architecture.from_json(short) == Architecture(2, 3, 4, (Block((0,)),), (0,), "flat", True, True)


def edit(*path: str | int, to: Any) -> Callable[[dict[str, Any]], None]:
    def change(value: Any) -> None:
        for step in path[:-1]:
            value = value[step]
        value[path[-1]] = to

    return change


def without(*path: str | int) -> Callable[[dict[str, Any]], None]:
    def change(value: Any) -> None:
        for step in path[:-1]:
            value = value[step]
        del value[path[-1]]

    return change


WRONG: dict[str, tuple[Callable[[dict[str, Any]], None], str]] = {
    "unknown module": (edit("blocks", 1, "dense", to=["fmm"]), r"blocks\[1\]\.dense: no module is named 'fmm'; did you mean 'fm'\?"),
    "module in the dense stream": (
        edit("blocks", 1, "dense", to=["embedded_fc"]),
        r"blocks\[1\]\.dense: 'embedded_fc' makes the sparse stream",
    ),
    "module in the sparse stream": (edit("blocks", 0, "sparse", to=["fm"]), r"blocks\[0\]\.sparse: 'fm' makes the dense stream"),
    "module twice": (edit("blocks", 1, "dense", to=["fm", "fm"]), r"blocks\[1\]\.dense: a module is named twice"),
    "a later source": (edit("blocks", 0, "sources", to=[1]), r"blocks\[0\]\.sources: 1 is no earlier output"),
    "its own source": (edit("blocks", 1, "sources", to=[2]), r"blocks\[1\]\.sources: 2 is no earlier output"),
    "a negative source": (edit("blocks", 1, "sources", to=[-1]), r"blocks\[1\]\.sources: -1 is no earlier output"),
    "source twice": (edit("blocks", 1, "sources", to=[0, 0]), r"blocks\[1\]\.sources: a source is named twice"),
    "no source": (edit("blocks", 1, "sources", to=[]), r"blocks\[1\]\.sources: \[\] make no sparse stream for 'fm'"),
    "width without modules": (edit("blocks", 1, "num_tokens", to=2), r"blocks\[1\]\.num_tokens = 2: must be positive exactly when"),
    "modules without width": (edit("blocks", 1, "dense_width", to=0), r"blocks\[1\]\.dense_width = 0: must be positive exactly when"),
    "negative width": (edit("blocks", 1, "dense_width", to=-4), r"blocks\[1\]\.dense_width = -4"),
    "negative width without modules": (edit("blocks", 1, "num_tokens", to=-2), r"blocks\[1\]\.num_tokens = -2"),
    "head beyond the last block": (edit("head", to=[3]), r"head: 3 is no earlier output; 0 is the stem, 2 the last"),
    "head twice": (edit("head", to=[1, 1]), "head: a source is named twice"),
    "no tokens": (edit("num_sparse", to=0), "num_sparse = 0: must be at least 1"),
    "no dimensions": (edit("embedding_dim", to=0), "embedding_dim = 0: must be at least 1"),
    "negative dense": (edit("num_dense", to=-1), "num_dense = -1: must be at least 0"),
    "stem": (edit("stem", to="deep"), "stem = 'deep': must be 'flat' or 'split'"),
    "type of a number": (edit("num_dense", to="2"), "num_dense = '2': must be of type int"),
    "a float": (edit("embedding_dim", to=4.0), "embedding_dim = 4.0: must be of type int"),
    "a truth value for a number": (edit("blocks", 0, "dense_width", to=True), r"blocks\[0\]\.dense_width = True: must be of type int"),
    "type of a truth value": (edit("normalise", to=1), "normalise = 1: must be of type bool"),
    "type of a list": (edit("head", to=1), "head = 1: must be a list"),
    "type in a list": (edit("blocks", 1, "sources", to=[0, "1"]), r"blocks\[1\]\.sources\[1\] = '1': must be of type int"),
    "type of a module": (edit("blocks", 1, "dense", to=[7]), r"blocks\[1\]\.dense\[0\] = 7: must be of type str"),
    "a string for a list": (edit("blocks", 1, "dense", to="fm"), r"blocks\[1\]\.dense = 'fm': must be a list"),
    "type of blocks": (edit("blocks", to={}), "blocks: must be a list"),
    "type of a block": (edit("blocks", 1, to=[]), r"blocks\[1\]: must be an object, not list"),
    "blocks missing": (without("blocks"), "blocks: must be a list"),
    "field missing": (without("num_sparse"), "num_sparse: missing"),
    "block's field missing": (without("blocks", 0, "sources"), r"blocks\[0\]\.sources: missing"),
    "unknown field": (edit("widths", to=3), "widths: no such field; known: num_dense"),
    "block's unknown field": (edit("blocks", 0, "width", to=3), r"blocks\[0\]\.width: no such field; known: sources, dense"),
    "version": (edit("version", to=2), "version = 2: this release reads version 1"),
    "version missing": (without("version"), "version = None"),
}


@pytest.mark.parametrize("case", WRONG)
def test_an_error_names_the_path_of_the_field(case: str) -> None:
    change, message = WRONG[case]
    value = stored()
    change(value)
    with pytest.raises(ValueError, match=f"^{message}"):
        Architecture.from_json(value)


@pytest.mark.parametrize(
    ("first", "second", "heard"),
    [
        (Block((0,)), Block((1,), ("linear",), 4), "dense"),
        (FIRST, Block((1,), ("fm",), 4), None),
        (Block((0,), ("linear",), 4), Block((1,), ("fm",), 4), "sparse"),
        (Block((0,), ("linear",), 4), Block((1,), sparse=("self_attention",), num_tokens=2), "sparse"),
        (Block((0,)), Block((1,), ("dot_product",), 4), "dense or sparse"),
        (Block((0,), ("linear",), 4), Block((1,), ("dot_product",), 4), None),
    ],
)
def test_a_module_whose_sources_are_silent_is_refused(first: Block, second: Block, heard: str | None) -> None:
    if heard is None:
        Architecture(2, 3, 4, (first, second), (2,))
    else:
        with pytest.raises(ValueError, match=rf"^blocks\[1\]\.sources: \[1\] make no {heard} stream"):
            Architecture(2, 3, 4, (first, second), (2,))


def test_a_network_that_reads_nothing_is_refused() -> None:
    for blocks, head in (((), ()), ((Block((0,)),), (1,))):
        with pytest.raises(ValueError, match="head: reads nothing"):
            Architecture(2, 3, 4, blocks, head, linear_skip=False)
        Architecture(2, 3, 4, blocks, head, linear_skip=True)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "Expecting value"),
        ("[]", "architecture: must be an object, not list"),
        ('{"version": 1', "delimiter"),
        ('{"version": 1, "blocks": [], "head": [5], "num_dense": 1, "num_sparse": 1, "embedding_dim": 4}', "head: 5 is no earlier output"),
    ],
)
def test_a_malformed_file_gives_one_line_with_its_name(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "edited.json"
    path.write_text(text)
    with pytest.raises(ValueError, match=message) as caught:
        load_architecture(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert "\n" not in str(caught.value)


def test_a_file_that_cannot_be_read_gives_one_line_with_its_name(tmp_path: Path) -> None:
    (tmp_path / "latin.json").write_bytes(b'{"stem": "\xe4"}')
    for name, message in (("missing.json", "No such file"), (".", "Is a directory"), ("latin.json", "utf-8")):
        with pytest.raises(ValueError, match=message) as caught:
            load_architecture(tmp_path / name)
        assert str(tmp_path) in str(caught.value)


def test_a_file_comes_back_as_the_network_it_holds(tmp_path: Path) -> None:
    path = tmp_path / "architecture.json"
    path.write_text(json.dumps(NETWORK.to_json()))
    assert load_architecture(path) == NETWORK


@settings(max_examples=100, deadline=None)
@given(network=hulls())
def test_the_canonical_form_is_canonical_and_keeps_the_key(network: Architecture) -> None:
    canonical = network.canonical()
    assert canonical.canonical() == canonical
    assert canonical.key() == network.key()
    assert len(canonical.blocks) == len(network.reachable_blocks())
    assert all(block.modules for block in canonical.blocks)


@settings(max_examples=100, deadline=None)
@given(network=hulls())
def test_order_and_dead_blocks_do_not_change_the_key(network: Architecture) -> None:
    generator = random.Random(0)

    def shuffled(things: tuple[Any, ...]) -> tuple[Any, ...]:
        return tuple(generator.sample(things, len(things)))

    blocks = tuple(replace(b, sources=shuffled(b.sources), dense=shuffled(b.dense), sparse=shuffled(b.sparse)) for b in network.blocks)
    assert replace(network, blocks=blocks, head=shuffled(network.head)).key() == network.key()
    # A block that nothing reads, put first; then an empty one that everything reads.
    for extra, read in ((FIRST, False), (Block((0,)), True)):

        def moved(sources: tuple[int, ...], add: bool = read) -> tuple[int, ...]:
            return tuple(source + (source > 0) for source in sources) + ((1,) if add else ())

        longer = (extra, *(replace(block, sources=moved(block.sources)) for block in network.blocks))
        assert replace(network, blocks=longer, head=moved(network.head)).key() == network.key()


DIFFERENT = [
    NETWORK,
    *(replace(NETWORK, **{name: getattr(NETWORK, name) + 1}) for name in ("num_dense", "num_sparse", "embedding_dim")),
    replace(NETWORK, head=(2,)),
    replace(NETWORK, head=(0, 1, 2)),
    replace(NETWORK, stem="split"),
    replace(NETWORK, normalise=False),
    replace(NETWORK, linear_skip=False),
    *(replace(NETWORK, blocks=(FIRST, second)) for second in (replace(SECOND, dense_width=5), replace(SECOND, sources=(0,)))),
    replace(NETWORK, blocks=(replace(FIRST, dense=("linear",)), SECOND)),
    replace(NETWORK, blocks=(replace(FIRST, num_tokens=2), SECOND)),
    replace(NETWORK, blocks=(replace(FIRST, sparse=("self_attention",)), SECOND)),
]


def test_different_networks_have_different_keys() -> None:
    assert len({network.key() for network in DIFFERENT}) == len(DIFFERENT)


def test_the_key_is_the_same_in_another_process() -> None:
    program = "import json, sys; from recsys_nas.space import Architecture; print(Architecture.from_json(json.load(sys.stdin)).key())"
    environment = os.environ | {"PYTHONHASHSEED": "12345"}
    text = json.dumps(NETWORK.to_json())
    told = subprocess.run([sys.executable, "-c", program], input=text, capture_output=True, text=True, env=environment, check=True)
    assert told.stdout.strip() == NETWORK.key()


def test_the_space_the_config_and_the_aggregation_load_no_torch() -> None:
    light = "recsys_nas.space, recsys_nas.config, recsys_nas.search.aggregate, recsys_nas.zoo.catalogue"
    program = f"import sys, {light}; print('torch' in sys.modules)"
    told = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert told.stdout.strip() == "False"
