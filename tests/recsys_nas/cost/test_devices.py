"""Device profiles: what their makers publish, and names that are not theirs."""

from __future__ import annotations

import pytest

from recsys_nas.cost.devices import DEVICES, device_profile, element_bytes


def test_ridge_points() -> None:
    # A100: 312 TFLOP/s and 2,039 GB/s; H100 and H200: 989.5 TFLOP/s (half of 1,979 with sparsity), 3.35 and 4.8 TB/s.
    assert [round(DEVICES[name].ridge("bfloat16"), 1) for name in ("a100", "h100", "h200")] == [153.0, 295.4, 206.1]
    assert [round(DEVICES[name].ridge("float32"), 2) for name in ("a100", "h100", "h200")] == [9.56, 20.0, 13.96]


def test_each_profile_says_what_it_is_and_who_says_so() -> None:
    for name, device in DEVICES.items():
        assert device is device_profile(name)
        assert device.name == name
        assert "https://" in device.source or "measured" in device.source
        assert set(device.flops) == {"float32", "bfloat16"}


@pytest.mark.parametrize(
    ("name", "message"), [("h20", "did you mean h200"), ("H100", "did you mean h100"), ("tpu", "known: cpu, a100, h100, h200")]
)
def test_an_unknown_device_is_named_with_the_nearest(name: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        device_profile(name)


def test_element_types() -> None:
    assert (element_bytes("float32"), element_bytes("bfloat16")) == (4, 2)
    with pytest.raises(ValueError, match="--dtype int8: must be one of float32, bfloat16"):
        element_bytes("int8")
