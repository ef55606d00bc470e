"""What a network costs to serve, from its `Architecture` alone."""

from __future__ import annotations

from recsys_nas.cost.dense import ModuleCost, counted_flops, dense_flops, expected_dense_flops, module_costs

__all__ = ["ModuleCost", "counted_flops", "dense_flops", "expected_dense_flops", "module_costs"]
