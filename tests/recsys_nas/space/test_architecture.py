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

from recsys_nas.space import PORTS, Architecture, Block, ModuleChoice, load_architecture
from tests.recsys_nas.random_networks import hulls

FIRST = Block.reading((0,), ("linear", "cross"), 8, ("embedded_fc",), 3)
SECOND = Block(4, 0, (ModuleChoice("fm", sparse=(0, 1)),), dense_to_tokens=2)
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
        "version": 2,
        "num_dense": 2,
        "num_sparse": 3,
        "embedding_dim": 4,
        "stem": "flat",
        "normalisation": "rms",
        "linear_skip": True,
        "head": [1, 2],
        "blocks": [
            {
                "dense_width": 8,
                "num_tokens": 3,
                "dense_to_tokens": 0,
                "tokens_to_dense": False,
                "modules": [{"name": "linear", "dense": [0]}, {"name": "cross", "dense": [0]}, {"name": "embedded_fc", "sparse": [0]}],
            },
            {
                "dense_width": 4,
                "num_tokens": 0,
                "dense_to_tokens": 2,
                "tokens_to_dense": False,
                "modules": [{"name": "fm", "sparse": [0, 1]}],
            },
        ],
    }


def test_fields_with_a_default_may_be_left_out() -> None:
    short = {"version": 2, "num_dense": 2, "num_sparse": 3, "embedding_dim": 4, "blocks": [{}], "head": [0]}
    assert Architecture.from_json(short) == Architecture(2, 3, 4, (Block(),), (0,), "flat", "rms", True)


def test_files_of_version_1_are_read_and_converted() -> None:
    old = {
        "version": 1,
        "num_dense": 2,
        "num_sparse": 3,
        "embedding_dim": 4,
        "blocks": [
            {"sources": [0], "dense": ["linear", "cross"], "dense_width": 8, "sparse": ["embedded_fc"], "num_tokens": 3},
            {"sources": [0, 1], "dense": ["dot_product"], "dense_width": 4},
        ],
        "head": [1, 2],
        "normalise": False,
    }
    read = Architecture.from_json(old)
    second = Block(4, 0, (ModuleChoice("dot_product", (0, 1), (0, 1)),))
    assert read == Architecture(2, 3, 4, (FIRST, second), (1, 2), normalisation="none")
    assert Architecture.from_json({key: value for key, value in old.items() if key != "normalise"}).normalisation == "rms"
    for change, message in (
        ({"normalise": 1}, "normalise = 1: must be of type bool"),
        ({"normalisation": "rms"}, "normalisation: no such field in version 1"),
        ({"blocks": [{"sources": [0], "dense": ["fmm"], "dense_width": 1}]}, r"blocks\[0\]\.dense: no module is named 'fmm'"),
        ({"blocks": [{"sources": [0], "dense": ["embedded_fc"], "dense_width": 1}]}, r"blocks\[0\]\.dense: 'embedded_fc' makes the sparse"),
        ({"blocks": [{"modules": []}]}, r"blocks\[0\]\.modules: no such field; known: sources"),
        ({"blocks": [{}]}, r"blocks\[0\]\.sources: missing"),
        ({"blocks": {}}, "blocks: must be a list"),
        ({"blocks": [3]}, r"blocks\[0\]: must be an object, not int"),
    ):
        with pytest.raises(ValueError, match=f"^{message}"):
            Architecture.from_json(old | change)


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


MODULE = r"blocks\[1\]\.modules\[0\]"
WRONG: dict[str, tuple[Callable[[dict[str, Any]], None], str]] = {
    "unknown module": (
        edit("blocks", 1, "modules", 0, "name", to="fmm"),
        rf"{MODULE}\.name: no module is named 'fmm'; did you mean 'fm'\?",
    ),
    "module twice": (edit("blocks", 0, "modules", 1, "name", to="linear"), r"blocks\[0\]\.modules: a module is named twice"),
    "a stream it does not read": (
        edit("blocks", 1, "modules", 0, "dense", to=[0]),
        rf"{MODULE}\.dense: 'fm' reads no such stream; it reads sparse",
    ),
    "a second input it does not have": (edit("blocks", 0, "modules", 0, "right", to=[0]), r"blocks\[0\]\.modules\[0\]\.right: 'linear'"),
    "a later source": (edit("blocks", 0, "modules", 1, "dense", to=[1]), r"blocks\[0\]\.modules\[1\]\.dense: 1 is no earlier output"),
    "its own source": (edit("blocks", 1, "modules", 0, "sparse", to=[2]), rf"{MODULE}\.sparse: 2 is no earlier output"),
    "a negative source": (edit("blocks", 1, "modules", 0, "sparse", to=[-1]), rf"{MODULE}\.sparse: -1 is no earlier output"),
    "source twice": (edit("blocks", 1, "modules", 0, "sparse", to=[0, 0]), rf"{MODULE}\.sparse: a source is named twice"),
    "no source": (
        edit("blocks", 1, "modules", 0, "sparse", to=[]),
        rf"{MODULE}: 'fm' hears nothing; its sources \{{\}} make no such stream",
    ),
    "width without modules": (edit("blocks", 1, "num_tokens", to=2), r"blocks\[1\]\.num_tokens = 2: must be positive exactly when"),
    "modules without width": (edit("blocks", 1, "dense_width", to=0), r"blocks\[1\]\.dense_width = 0: must be positive exactly when"),
    "negative width": (edit("blocks", 1, "dense_width", to=-4), r"blocks\[1\]\.dense_width = -4"),
    "negative width without modules": (edit("blocks", 1, "num_tokens", to=-2), r"blocks\[1\]\.num_tokens = -2"),
    "a merger of no tokens": (
        edit("blocks", 1, "tokens_to_dense", to=True),
        r"blocks\[1\]\.tokens_to_dense = True: the block has no module",
    ),
    "negative merger": (edit("blocks", 1, "dense_to_tokens", to=-1), r"blocks\[1\]\.dense_to_tokens = -1"),
    "a merger of no features": (
        edit("blocks", 0, to={"num_tokens": 1, "dense_to_tokens": 2, "modules": [{"name": "embedded_fc", "sparse": [0]}]}),
        r"blocks\[0\]\.dense_to_tokens = 2: must be 0, or positive where",
    ),
    "head beyond the last block": (edit("head", to=[3]), r"head: 3 is no earlier output; 0 is the stem, 2 the last"),
    "head twice": (edit("head", to=[1, 1]), "head: a source is named twice"),
    "no tokens": (edit("num_sparse", to=0), "num_sparse = 0: must be at least 1"),
    "no dimensions": (edit("embedding_dim", to=0), "embedding_dim = 0: must be at least 1"),
    "negative dense": (edit("num_dense", to=-1), "num_dense = -1: must be at least 0"),
    "stem": (edit("stem", to="deep"), "stem = 'deep': must be one of 'flat', 'split'"),
    "normalisation": (edit("normalisation", to="group"), "normalisation = 'group': must be one of 'rms', 'layer', 'batch', 'none'"),
    "type of a number": (edit("num_dense", to="2"), "num_dense = '2': must be of type int"),
    "a float": (edit("embedding_dim", to=4.0), "embedding_dim = 4.0: must be of type int"),
    "a truth value for a number": (edit("blocks", 0, "dense_width", to=True), r"blocks\[0\]\.dense_width = True: must be of type int"),
    "type of a truth value": (edit("linear_skip", to=1), "linear_skip = 1: must be of type bool"),
    "type of a list": (edit("head", to=1), "head = 1: must be a list"),
    "type in a list": (edit("blocks", 1, "modules", 0, "sparse", to=[0, "1"]), rf"{MODULE}\.sparse\[1\] = '1': must be of type int"),
    "type of a name": (edit("blocks", 1, "modules", 0, "name", to=7), rf"{MODULE}\.name = 7: must be of type str"),
    "type of sources": (edit("blocks", 1, "modules", 0, "sparse", to=0), rf"{MODULE}\.sparse = 0: must be a list"),
    "type of a module": (edit("blocks", 1, "modules", 0, to="fm"), rf"{MODULE}: must be an object, not str"),
    "type of modules": (edit("blocks", 1, "modules", to="fm"), r"blocks\[1\]\.modules = 'fm': must be a list"),
    "type of blocks": (edit("blocks", to={}), "blocks: must be a list"),
    "type of a block": (edit("blocks", 1, to=[]), r"blocks\[1\]: must be an object, not list"),
    "blocks missing": (without("blocks"), "blocks: must be a list"),
    "field missing": (without("num_sparse"), "num_sparse: missing"),
    "module's field missing": (without("blocks", 0, "modules", 0, "name"), r"blocks\[0\]\.modules\[0\]\.name: missing"),
    "unknown field": (edit("widths", to=3), "widths: no such field; known: num_dense"),
    "block's unknown field": (edit("blocks", 0, "width", to=3), r"blocks\[0\]\.width: no such field; known: dense_width, num_tokens"),
    "module's unknown field": (
        edit("blocks", 0, "modules", 0, "left", to=[0]),
        r"blocks\[0\]\.modules\[0\]\.left: no such field; known: name",
    ),
    "version": (edit("version", to=3), "version = 3: this release reads versions 1 and 2"),
    "version as a truth value": (edit("version", to=True), "version = True: this release reads versions 1 and 2"),
    "version missing": (without("version"), "version: missing, so this is no architecture"),
}


@pytest.mark.parametrize("case", WRONG)
def test_an_error_names_the_path_of_the_field(case: str) -> None:
    change, message = WRONG[case]
    value = stored()
    change(value)
    with pytest.raises(ValueError, match=f"^{message}"):
        Architecture.from_json(value)


LINEAR = Block.reading((0,), ("linear",), 4)


@pytest.mark.parametrize(
    ("first", "second", "heard"),
    [
        (Block(), Block.reading((1,), ("linear",), 4), False),
        (FIRST, Block.reading((1,), ("fm",), 4), True),
        (LINEAR, Block.reading((1,), ("fm",), 4), False),
        (replace(LINEAR, dense_to_tokens=1), Block.reading((1,), ("fm",), 4), True),
        (LINEAR, Block.reading((1,), sparse=("self_attention",), num_tokens=2), False),
        (Block.reading((0,), sparse=("embedded_fc",), num_tokens=2), Block.reading((1,), ("linear",), 4), False),
        (replace(Block.reading((0,), sparse=("embedded_fc",), num_tokens=2), tokens_to_dense=True, dense_width=3),
         Block.reading((1,), ("linear",), 4), True),
        (Block(), Block.reading((1,), ("dot_product",), 4), False),
        (LINEAR, Block.reading((1,), ("dot_product",), 4), True),
    ],
)  # fmt: skip
def test_a_module_whose_sources_are_silent_is_refused(first: Block, second: Block, heard: bool) -> None:
    if heard:
        Architecture(2, 3, 4, (first, second), (2,))
    else:
        with pytest.raises(ValueError, match=rf"^blocks\[1\]\.modules\[0\]: '{second.modules[0].name}' hears nothing; its sources .*\[1\]"):
            Architecture(2, 3, 4, (first, second), (2,))


def test_a_network_that_reads_nothing_is_refused() -> None:
    for blocks, head in (((), ()), ((Block(),), (1,))):
        with pytest.raises(ValueError, match="head: reads nothing"):
            Architecture(2, 3, 4, blocks, head, linear_skip=False)
        Architecture(2, 3, 4, blocks, head, linear_skip=True)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "not valid JSON \\(Expecting value"),
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
    assert canonical.live() == canonical
    assert network.live().live() == network.live()
    assert network.live().key() == network.key()


@settings(max_examples=100, deadline=None)
@given(network=hulls())
def test_order_and_dead_blocks_do_not_change_the_key(network: Architecture) -> None:
    generator = random.Random(0)

    def shuffled(things: tuple[Any, ...]) -> tuple[Any, ...]:
        return tuple(generator.sample(things, len(things)))

    def remade(block: Block, change: Callable[[tuple[Any, ...]], tuple[Any, ...]]) -> Block:
        modules = (ModuleChoice(m.name, *(change(m.sources(port)) for port in PORTS)) for m in block.modules)
        return replace(block, modules=shuffled(tuple(modules)))

    blocks = tuple(remade(block, shuffled) for block in network.blocks)
    assert replace(network, blocks=blocks, head=shuffled(network.head)).key() == network.key()
    # A block that nothing reads, put first; then an empty one that everything reads.
    for extra, read in ((FIRST, False), (Block(), True)):

        def moved(sources: tuple[int, ...], add: bool = read) -> tuple[int, ...]:
            return tuple(source + (source > 0) for source in sources) + ((1,) if add and sources else ())

        longer = (extra, *(remade(block, moved) for block in network.blocks))
        assert replace(network, blocks=longer, head=moved(network.head)).key() == network.key()


READER = Block.reading((1,), ("linear",), 4)
"""Reads the dense stream of block 1 and nothing else."""


@pytest.mark.parametrize(
    ("written", "same"),
    [
        # tokens that nobody reads
        ((FIRST, READER), (Block.reading((0,), ("linear", "cross"), 8), READER)),
        # a merger to tokens that nobody reads
        ((replace(FIRST, dense_to_tokens=3), READER), (Block.reading((0,), ("linear", "cross"), 8), READER)),
        # dense features that nobody reads
        (
            (FIRST, Block.reading((1,), ("fm",), 4)),
            (Block.reading((0,), sparse=("embedded_fc",), num_tokens=3), Block.reading((1,), ("fm",), 4)),
        ),
        # the sum of the dense modules is read by the merger alone, so the other merger adds to nothing
        (
            (replace(FIRST, dense_to_tokens=3, tokens_to_dense=True), Block.reading((1,), ("fm",), 4)),
            (replace(FIRST, dense_to_tokens=3), Block.reading((1,), ("fm",), 4)),
        ),
    ],
)
def test_what_nobody_reads_does_not_count_stream_by_stream(written: tuple[Block, ...], same: tuple[Block, ...]) -> None:
    first, second = (replace(NETWORK, blocks=blocks, head=(2,)) for blocks in (written, same))
    assert first != second
    assert first.key() == second.key()
    assert first.live() == second


def test_settings_without_effect_do_not_count() -> None:
    tokens_only = replace(NETWORK, blocks=(Block.reading((0,), ("fm",), 4),), head=(1,))
    assert replace(tokens_only, stem="split").key() == tokens_only.key()
    nothing = replace(NETWORK, blocks=(), head=())
    assert replace(nothing, normalisation="none", stem="split").key() == nothing.key()


DIFFERENT = [
    NETWORK,
    *(replace(NETWORK, **{name: getattr(NETWORK, name) + 1}) for name in ("num_dense", "num_sparse", "embedding_dim")),
    replace(NETWORK, head=(2,)),
    replace(NETWORK, head=(0, 1, 2)),
    replace(NETWORK, stem="split"),
    replace(NETWORK, normalisation="layer"),
    replace(NETWORK, normalisation="none"),
    replace(NETWORK, linear_skip=False),
    *(
        replace(NETWORK, blocks=(FIRST, second))
        for second in (
            replace(SECOND, dense_width=5),
            replace(SECOND, dense_to_tokens=0),
            replace(SECOND, dense_to_tokens=1),
            replace(SECOND, modules=(ModuleChoice("fm", sparse=(0,)),)),
            replace(SECOND, modules=(ModuleChoice("dot_product", sparse=(0, 1)),)),
            replace(SECOND, modules=(ModuleChoice("dot_product", (0,), sparse=(0, 1)),)),
        )
    ),
    *(
        replace(NETWORK, blocks=(first, SECOND))
        for first in (
            replace(FIRST, modules=FIRST.modules[1:]),
            replace(FIRST, num_tokens=2),
            replace(FIRST, tokens_to_dense=True),
            Block.reading((0,), ("linear", "cross"), 8, ("self_attention",), 3),
        )
    ),
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
