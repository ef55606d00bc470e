"""What a model costs to serve: FLOPs, bytes and, on a named device, the time that the roofline model allows at best."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from embeddings.lookup_cost import LookupCost
from recsys_nas.cost.dense import module_costs
from recsys_nas.cost.devices import ELEMENT_BYTES, DeviceProfile, DType
from recsys_nas.cost.traffic import ELSEWHERE, activation_elements
from recsys_nas.model import InteractionArch
from recsys_nas.space import Architecture

Bound = Literal["compute", "memory"]
LOOKUP, JOINS, HEAD, SKIP = "lookup", "joins", "head", "linear_skip"


@dataclass(frozen=True)
class PartCost:
    """One module; block 0 is what lies outside the blocks. FLOPs (one multiply-add = 2), activation and table bytes are per
    example, parameter bytes per batch, since weights are read once for all its examples."""

    block: int
    module: str
    flops: int
    parameters: int
    parameter_bytes: int
    activation_bytes: int
    table_bytes: int = 0

    def bytes(self, batch: int) -> int:
        """Bytes that a batch moves between memory and processor."""
        return self.parameter_bytes + batch * (self.activation_bytes + self.table_bytes)


@dataclass(frozen=True)
class Roofline:
    """Seconds a batch: no device of that peak and bandwidth can be faster at these FLOPs and bytes."""

    compute_seconds: float
    memory_seconds: float

    @property
    def seconds(self) -> float:
        return max(self.compute_seconds, self.memory_seconds)

    @property
    def bound(self) -> Bound:
        return "compute" if self.compute_seconds >= self.memory_seconds else "memory"


@dataclass(frozen=True)
class ServingCost:
    """The cost of a whole model by part: lookups first, then modules in order, head and linear skip last."""

    dtype: DType
    lookup: LookupCost
    parts: tuple[PartCost, ...]

    @property
    def dense_flops(self) -> int:
        """FLOPs per example without lookups: what torch's FlopCounterMode counts on the forward pass."""
        return sum(part.flops for part in self.parts if part.module != LOOKUP)

    @property
    def lookup_flops(self) -> int:
        return self.lookup.flops

    @property
    def lookup_bytes(self) -> int:
        """Rows of tables read per example, with the ids that name them."""
        return self.lookup.bytes + self.lookup.index_bytes

    @property
    def parameters(self) -> int:
        return sum(part.parameters for part in self.parts)

    @property
    def parameter_bytes(self) -> int:
        """Of the dense half; tables are not in it, since only the rows looked up are read."""
        return sum(part.parameter_bytes for part in self.parts)

    @property
    def activation_bytes(self) -> int:
        """Read and written per example by operations one by one (`recsys_nas.cost.traffic`)."""
        return sum(part.activation_bytes for part in self.parts)

    def bytes(self, batch: int) -> int:
        return sum(part.bytes(batch) for part in self.parts)

    def roofline(self, part: PartCost, device: DeviceProfile, batch: int) -> Roofline:
        """Time of one part for a batch. Pooling of embeddings runs in float32 whatever the dense half runs in."""
        peak = device.flops["float32" if part.module == LOOKUP else self.dtype]
        return Roofline(batch * part.flops / peak, part.bytes(batch) / device.bandwidth)

    def seconds(self, device: DeviceProfile, batch: int) -> float:
        """Time of a batch, the parts one after another, each bound by arithmetic or by memory."""
        return sum(self.roofline(part, device, batch).seconds for part in self.parts)


def serving_cost(architecture: Architecture, lookup: LookupCost, dtype: DType = "float32") -> ServingCost:
    """The cost of an `Architecture` over tables that cost `lookup`; FLOPs by formula, parameters and activations from the
    network on the meta device."""
    with torch.device("meta"):
        network = InteractionArch(architecture)
    modules = {f"{number}/{name}": module for number, block in network.blocks.items() for name, module in block.named_children()}
    sizes = (architecture.num_dense, architecture.num_sparse, architecture.embedding_dim)
    elements = activation_elements(network, sizes, modules)
    weights = {key: count_parameters(module) for key, module in modules.items()}
    # Head and linear skip are plain products, no modules: they read a stream each and write one number.
    for name, weight in ((HEAD, network.head), (SKIP, network.skip)):
        if weight is not None:
            elements[f"0/{name}"] = weight.numel() + 1 if weight.numel() else 0
            elements[ELSEWHERE] -= elements[f"0/{name}"]
            weights[f"0/{name}"] = weight.numel() + (network.bias.numel() if name == HEAD else 0)
    parts = [_part(0, JOINS, 0, 0, elements[ELSEWHERE], dtype)]
    for cost in module_costs(architecture):
        key = f"{cost.block}/{cost.module}"
        parts.append(_part(cost.block, cost.module, cost.flops, weights[key], elements[key], dtype))
    return ServingCost(dtype, lookup, (_lookup_part(lookup, sizes, dtype), *parts))


def network_cost(network: nn.Module, sizes: tuple[int, int, int], lookup: LookupCost, dtype: DType = "float32") -> ServingCost:
    """The cost of any network of `sizes` (num_dense, num_sparse, embedding_dim), by its direct children, as torch counts it."""
    if isinstance(network, InteractionArch):
        return serving_cost(network.architecture, lookup, dtype)
    children = dict(_called(network))
    elements = activation_elements(network, sizes, children)
    device = next(network.parameters()).device
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        network(torch.zeros(2, sizes[0], device=device), torch.zeros(2, sizes[1], sizes[2], device=device))
    counts, whole = counter.get_flop_counts(), counter.get_total_flops()
    flops = {name: sum(counts.get(f"{type(network).__name__}.{name}", {}).values()) for name in children}
    rest = count_parameters(network) - sum(count_parameters(child) for child in children.values())
    parts = [_part(0, name, flops[name] // 2, count_parameters(child), elements[name], dtype) for name, child in children.items()]
    parts.append(_part(0, JOINS, (whole - sum(flops.values())) // 2, rest, elements[ELSEWHERE], dtype))
    return ServingCost(dtype, lookup, (_lookup_part(lookup, sizes, dtype), *parts))


def _called(network: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """Direct children by name; of a list of modules, which is never called itself, its members."""
    for name, child in network.named_children():
        if isinstance(child, nn.ModuleList | nn.ModuleDict):
            yield from ((f"{name}.{inner}", module) for inner, module in child.named_children())
        else:
            yield name, child


def count_parameters(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def _part(block: int, module: str, flops: int, parameters: int, elements: int, dtype: DType) -> PartCost:
    size = ELEMENT_BYTES[dtype]
    return PartCost(block, module, flops, parameters, parameters * size, elements * size)


def _lookup_part(lookup: LookupCost, sizes: tuple[int, int, int], dtype: DType) -> PartCost:
    """Lookups read rows and ids and write one embedding a feature."""
    _, num_sparse, dim = sizes
    written = num_sparse * dim * ELEMENT_BYTES[dtype]
    return PartCost(0, LOOKUP, lookup.flops, 0, 0, written, lookup.bytes + lookup.index_bytes)
