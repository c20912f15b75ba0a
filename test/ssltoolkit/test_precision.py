"""bfloat16 is used where the device has it and gains speed, and refused where it would be emulated."""

import pytest

from ssltoolkit import precision
from ssltoolkit.errors import UserError

ALL = ("auto", "fp32", "bf16")


def machine(monkeypatch, has, flags):
    monkeypatch.setattr(precision, "has_bfloat16", lambda device: has)
    monkeypatch.setattr(precision, "cpu_flags", lambda: frozenset(flags))


@pytest.mark.parametrize("flag", ["avx512_bf16", "amx_bf16"])
def test_auto_takes_it_where_the_processor_has_products_of_it(monkeypatch, flag):
    machine(monkeypatch, True, {"avx512f", flag})
    assert [precision.uses_bfloat16(asked, "cpu") for asked in ALL] == [True, False, True]


def test_auto_leaves_it_where_it_is_converted_back_and_forth(monkeypatch):
    machine(monkeypatch, True, {"avx512f", "avx512bw"})
    assert [precision.uses_bfloat16(asked, "cpu") for asked in ALL] == [False, False, True]


def test_it_is_refused_where_it_would_be_emulated(monkeypatch):
    machine(monkeypatch, False, {"avx2"})
    assert [precision.uses_bfloat16(asked, "cpu") for asked in ("auto", "fp32")] == [False, False]
    with pytest.raises(
        UserError, match="training.precision: this machine does not support bfloat16 .* use auto or fp32"
    ):
        precision.uses_bfloat16("bf16", "cpu")


def test_a_gpu_that_has_it_gains_by_it(monkeypatch):
    machine(monkeypatch, True, ())
    assert precision.uses_bfloat16("auto", "cuda") and not precision.uses_bfloat16("fp32", "cuda")


def test_flags_are_those_of_the_first_processor(monkeypatch, tmp_path):
    table = "processor\t: 0\nflags\t\t: fpu amx_bf16 avx2\nvmx flags\t: ept\n\nprocessor\t: 1\nflags\t\t: fpu\n"
    (tmp_path / "cpuinfo").write_text(table)
    monkeypatch.setattr("builtins.open", lambda path, **options: (tmp_path / "cpuinfo").open(**options))
    assert precision.cpu_flags() == {"fpu", "amx_bf16", "avx2"}


def test_without_a_table_of_flags_there_are_none(monkeypatch):
    def missing(*arguments, **options):
        raise FileNotFoundError

    monkeypatch.setattr("builtins.open", missing)
    assert precision.cpu_flags() == frozenset()
