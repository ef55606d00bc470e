"""Batch normalisation between a layer and its ReLU: PyTorch's own, and in a supernet that of the path alone."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import nn

from recsys_nas.model import InteractionArch
from recsys_nas.modules import Shape
from recsys_nas.modules.cross import Cross
from recsys_nas.modules.embedded_fc import EmbeddedFC
from recsys_nas.modules.linear import Linear
from recsys_nas.modules.normalised import BatchNorm, NormalisedModule
from recsys_nas.space import Architecture, Block
from recsys_nas.supernet import Supernet
from tests.recsys_nas.modules.layers import close, random_inputs, randomised
from tests.recsys_nas.random_networks import inputs, randomise

SHAPE = Shape(dense=3, tokens=4, dim=2, out=5)
NETWORK = Architecture(3, 4, 2, (Block.reading((0,), ("linear", "cross"), 6, ("embedded_fc",), 3),), (1,), normalisation="batch")
MEMBER = replace(NETWORK, blocks=(Block.reading((0,), ("linear",), 4, ("embedded_fc",), 2),))


def peer(norm: BatchNorm) -> nn.BatchNorm1d:
    """PyTorch's layer with the same shift, and a scale of 1."""
    layer = nn.BatchNorm1d(len(norm.shift)).double()
    layer.bias.data.copy_(norm.shift.data)
    return layer


def norm_of(module: NormalisedModule) -> BatchNorm:
    assert module.norm is not None
    return module.norm


def test_it_is_pytorchs_while_training_and_in_evaluation() -> None:
    norm = BatchNorm(5).double()
    randomise(norm)
    other = peer(norm)
    generator = torch.Generator().manual_seed(0)
    for _ in range(3):
        x = torch.randn(8, 5, generator=generator, dtype=torch.float64) * 3 + 1
        close(norm(x), other(x))
    close(norm.eval()(x), other.eval()(x))
    assert int(norm.batches) == 3


def test_the_relu_comes_after_it() -> None:
    layer, read = randomised(Linear(SHAPE)), random_inputs(SHAPE, rows=6)
    module = NormalisedModule(layer, "batch").double()
    norm_of(module).shift.data.fill_(0.5)
    close(module(read), torch.relu(peer(norm_of(module))(layer.linear(read))))


def test_tokens_are_channels() -> None:
    read, mix = random_inputs(SHAPE, rows=6), randomised(EmbeddedFC(SHAPE))
    mixed = NormalisedModule(mix, "batch").double()
    close(mixed(read), torch.relu(peer(norm_of(mixed))(mix.linear(read))))


def test_a_module_without_relu_is_neither_batch_normalised_nor_dropped() -> None:
    read, cross = random_inputs(SHAPE, rows=6), randomised(Cross(SHAPE))
    module = NormalisedModule(cross, "batch", dropout=0.5)
    assert module.norm is None
    assert torch.equal(module(read), cross(read))
    assert not torch.equal(NormalisedModule(cross, "rms")(read), cross(read))


def test_dropout_is_for_training_only() -> None:
    module = NormalisedModule(Linear(Shape(20, 0, 1, 50)), "none", dropout=0.5)
    read = random_inputs(Shape(20, 0, 1, 50), rows=40)._replace(dense=torch.ones(40, 20))
    torch.manual_seed(0)
    dropped, whole = module(read), module.eval()(read)
    kept = dropped != 0
    assert 0.4 < kept[whole > 0].float().mean() < 0.6
    torch.testing.assert_close(dropped[kept], 2 * whole[kept])


def test_a_path_through_a_supernet_is_normalised_by_its_own_statistics() -> None:
    supernet = Supernet(NETWORK).double()
    randomise(supernet)
    batch = inputs(NETWORK, rows=7)
    before = {name: value.clone() for name, value in supernet.state_dict().items()}
    through = supernet(*batch, MEMBER)
    derived = supernet.extract(MEMBER)
    torch.testing.assert_close(derived.eval()(*batch), through, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(derived.train()(*batch), through, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(supernet.eval()(*batch, MEMBER), through, rtol=0, atol=0)
    assert all(torch.equal(value, before[name]) for name, value in supernet.state_dict().items())


def test_a_network_taken_out_gathers_statistics_when_it_is_trained() -> None:
    supernet = Supernet(NETWORK).double()
    randomise(supernet)
    derived, batch = supernet.extract(MEMBER), inputs(NETWORK, rows=7)
    one_row = tuple(value[:1] for value in batch)
    for _ in range(200):
        derived.train()(*batch)
    # An example's logit no longer hangs on the others of its batch; the running variance is the unbiased one.
    alone, among_others = derived.eval()(*one_row), derived.eval()(*batch)[:1]
    torch.testing.assert_close(alone, among_others, rtol=1e-10, atol=1e-10)
    restored = InteractionArch(MEMBER).double()
    restored.load_state_dict(derived.state_dict())
    torch.testing.assert_close(restored.eval()(*one_row), alone, rtol=0, atol=0)
