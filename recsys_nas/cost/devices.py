"""What a device can do at best, as its maker publishes it: the two numbers of the roofline model (Williams et al., 2009)."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, get_args

DType = Literal["float32", "bfloat16"]
"""The element type of weights and activations of the dense half."""

ELEMENT_BYTES: dict[DType, int] = {"float32": 4, "bfloat16": 2}


@dataclass(frozen=True)
class DeviceProfile:
    """`flops`: peak FLOP/s by element type, without sparsity. `bandwidth`: bytes/s of its memory. `source`: who says so."""

    name: str
    title: str
    flops: Mapping[DType, float]
    bandwidth: float
    source: str

    def ridge(self, dtype: DType) -> float:
        """FLOPs per byte above which arithmetic, and below which memory, is the bound."""
        return self.flops[dtype] / self.bandwidth


# float32 is that of the plain cores: PyTorch multiplies float32 matrices in TF32 only where it is told to
# (torch.set_float32_matmul_precision), which on these devices would be 156e12, 495e12 and 495e12.
_HOPPER: dict[DType, float] = {"float32": 67e12, "bfloat16": 989.5e12}

DEVICES: dict[str, DeviceProfile] = {
    device.name: device
    for device in (
        DeviceProfile(
            "cpu",
            "one core of an Intel Xeon at 2.5 GHz (family 6, model 85, AVX-512, no AMX), as measured",
            {"float32": 114e9, "bfloat16": 24e9},
            9.8e9,
            "measured 2026-11-21 by benchmarks/latency.py: matrix products of 2048 x 1024 x 1024, copy of 256 MiB",
        ),
        DeviceProfile(
            "a100",
            "NVIDIA A100 SXM 80 GB",
            {"float32": 19.5e12, "bfloat16": 312e12},
            2.039e12,
            "https://www.nvidia.com/content/dam/en-zz/Solutions/Data-Center/a100/pdf/nvidia-a100-datasheet-us-nvidia-1758950-r4-web.pdf",
        ),
        DeviceProfile(
            "h100",
            "NVIDIA H100 SXM 80 GB",
            _HOPPER,
            3.35e12,
            "https://resources.nvidia.com/en-us-tensor-core/nvidia-tensor-core-gpu-datasheet (1,979 TFLOP/s in bfloat16 with sparsity)",
        ),
        DeviceProfile(
            "h200",
            "NVIDIA H200 SXM 141 GB",
            _HOPPER,
            4.8e12,
            "https://www.nvidia.com/en-us/data-center/h200/ (1,979 TFLOP/s in bfloat16 with sparsity)",
        ),
    )
}


def device_profile(name: str) -> DeviceProfile:
    """Look a device up; raises ValueError naming the nearest one and all known."""
    if name in DEVICES:
        return DEVICES[name]
    near = difflib.get_close_matches(name.lower(), DEVICES, n=1)
    guess = f" did you mean {near[0]}?" if near else ""
    raise ValueError(f"--device {name}: no such device profile;{guess} known: {', '.join(DEVICES)}")


def element_bytes(dtype: str) -> int:
    """Bytes of one element; raises ValueError for a type that no profile has."""
    for known, size in ELEMENT_BYTES.items():
        if dtype == known:
            return size
    raise ValueError(f"--dtype {dtype}: must be one of {', '.join(get_args(DType))}")
