"""The settings that make products on a CPU fast."""

from pathlib import Path

import pytest
import torch

from core import device


@pytest.fixture
def precision():
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("highest")
    yield torch.get_float32_matmul_precision
    torch.set_float32_matmul_precision(before)


@pytest.mark.parametrize(
    ("vendor", "amx", "expected"),
    [("AuthenticAMD", False, "medium"), ("GenuineIntel", False, "highest"), ("AuthenticAMD", True, "highest")],
)
def test_the_library_for_products_is_chosen_by_the_processor(
    vendor: str, amx: bool, expected: str, precision, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    cpuinfo = tmp_path / "cpuinfo"
    cpuinfo.write_text(f"processor\t: 0\nvendor_id\t: {vendor}\n", encoding="utf-8")
    monkeypatch.setattr(device, "CPUINFO", cpuinfo)
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: amx)
    device.tune(torch.device("cpu"))
    assert precision() == expected


def test_without_a_list_of_processors_the_library_is_chosen_all_the_same(
    precision, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(device, "CPUINFO", tmp_path / "missing")
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: False)
    device.tune(torch.device("cpu"))
    assert precision() == "medium"
