"""Devices listed, shown and compared."""

from __future__ import annotations

import json

import pytest

from profleet.cli import main
from profleet.errors import HardwareError
from profleet.hardware.sheet import ANY, compare, sheet_of
from profleet.hardware.sheet_tables import entry_text, scaled
from profleet.manifest.library import Library

LIBRARY = Library.standard()


def sheet(name):
    return sheet_of(LIBRARY.resolve("hardware", name).document)


def test_the_ridge_point_is_peak_over_bandwidth():
    h100 = sheet("nvidia-h100-sxm")
    assert h100.ridge["float16"] == pytest.approx(989e12 / 3.35e12)
    assert h100.ridge["int8"] == pytest.approx(1979e12 / 3.35e12)


def test_an_array_of_cores_has_a_peak_for_any_dtype_and_no_ridge():
    lightning = sheet("mit-lightning")
    assert lightning.peaks[ANY].value == pytest.approx(2 * 576 * 97e9)
    assert lightning.ridge == {}


def test_ratios_are_to_the_first_device_that_states_the_measure():
    rows = compare([sheet("mit-lightning"), sheet("nvidia-h100-sxm"), sheet("google-tpu-v5e")])
    assert rows["bandwidth", "B/s"] == [None, 3.35e12, 819e9]
    assert rows["power peak", "W"] == [91.875, 700, None]
    assert next(iter(rows))[0].startswith("peak")


@pytest.mark.parametrize(
    ("names", "message"),
    [(["nvidia-t4"], "at least two"), (["nvidia-t4", "nvidia-t4"], "'nvidia-t4' is named twice")],
)
def test_what_cannot_be_compared(names, message):
    with pytest.raises(HardwareError, match=message):
        compare([sheet(name) for name in names])


@pytest.mark.parametrize(
    ("value", "unit", "text"),
    [(989e12, "op/s", "989.0 Top/s"), (7.7e12, "B/s", "7.700 TB/s"), (700, "W", "700.0 W"),
     (0.133, "W", "0.1330 W"), (295.2, "op/B", "295.2 op/B"), (12, "USD/h", "12.00 USD/h")],
)  # fmt: skip
def test_numbers_are_written_with_prefixes(value, unit, text):
    assert scaled(value, unit) == text


def test_marks_tell_recalled_derived_and_disputed_numbers():
    assert entry_text(sheet("nvidia-a10").peaks["int8"]).endswith("?")
    assert entry_text(sheet("amd-epyc-9654").bandwidth).endswith("~")
    assert entry_text(sheet("nvidia-b200-sxm").bandwidth).endswith("+")
    assert entry_text(sheet("raspberry-pi-4").bandwidth).endswith("!+")
    assert entry_text(sheet("nvidia-h100-sxm").bandwidth).endswith("TB/s")


# -- the command line --------------------------------------------------------------------------


def test_list_shows_every_device(capsys):
    assert main(["hardware", "list"]) == 0
    out = capsys.readouterr().out
    assert "nvidia-h100-sxm" in out
    assert "mit-lightning" in out
    assert "recalled" in out


def test_list_as_json_by_kind(capsys):
    assert main(["hardware", "list", "--kind", "core_array", "--json"]) == 0
    sheets = json.loads(capsys.readouterr().out)
    assert {each["kind"] for each in sheets} == {"core_array"}
    assert {each["name"] for each in sheets} >= {"mit-lightning", "lightspeed-a100"}


def test_list_of_an_unknown_kind(capsys):
    assert main(["hardware", "list", "--kind", "rooflines"]) == 2
    assert "Did you mean 'roofline'?" in capsys.readouterr().err


def test_show_names_sources_and_alternatives(capsys):
    assert main(["hardware", "show", "nvidia-b200-sxm"]) == 0
    out = capsys.readouterr().out
    assert "7700 GB/s" in out
    assert "8000 GB/s" in out
    assert "aiconfigurator-core 0.12.0" in out
    assert "Ridge points" in out


def test_show_as_json_has_the_digest_and_base_units(capsys):
    assert main(["hardware", "show", "nvidia-t4@1", "--json"]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert shown["document"]["name"] == "nvidia-t4"
    assert shown["sheet"]["peaks"]["int8"]["value"] == 130e12
    assert shown["sha256"] == LIBRARY.resolve("hardware", "nvidia-t4").sha256


def test_compare_prints_ratios(capsys):
    devices = ["nvidia-h100-sxm", "google-tpu-v5e", "mit-lightning"]
    assert main(["hardware", "compare", *devices]) == 0
    out = capsys.readouterr().out
    assert "197.0 Top/s (0.1992x)" in out
    assert "ridge bfloat16" in out
    assert main(["hardware", "compare", *devices, "--json"]) == 0
    rows = {row["measure"]: row for row in json.loads(capsys.readouterr().out)["measures"]}
    assert rows["peak bfloat16"]["ratios"] == [1, pytest.approx(197 / 989), None]
    assert rows["peak any"]["ratios"] == [None, None, 1]


def test_an_unknown_device(capsys):
    assert main(["hardware", "show", "nvidia-h100-sxn"]) == 2
    assert "Did you mean 'nvidia-h100-sxm'?" in capsys.readouterr().err
