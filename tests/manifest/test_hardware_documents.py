"""Hardware manifests: what is possible, where a number is from, and the shipped catalogue."""

from __future__ import annotations

import copy
from collections import Counter

import pytest
import yaml

from profleet.errors import ManifestError
from profleet.manifest.documents import Hardware
from profleet.manifest.hardware_documents import EVIDENCE_OF, figures
from profleet.manifest.library import Library
from profleet.manifest.loading import parse_document
from profleet.manifest.units import UNITS, base_value
from sample_manifests import HARDWARE

LIBRARY = Library.standard()
MODELLED = [
    entry
    for entry in LIBRARY.entries("hardware")
    if LIBRARY.resolve("hardware", entry.name).document.kind != "measured"
]


def figure(value, unit, **more):
    return {
        "value": value, "unit": unit, "evidence": "modelled", "provenance": "datasheet",
        "source": "made by the test", **more,
    }  # fmt: skip


def roofline():
    document = copy.deepcopy(HARDWARE)
    del document["detect"]
    return document | {
        "kind": "roofline",
        "peaks": {"float32": figure(1, "TFLOP/s")},
        "memory": {"bandwidth": figure(100, "GB/s"), "capacity": figure(8, "GiB")},
        "power": {"idle": figure(0, "W"), "peak": figure(50, "W")},
    }


def parse(document) -> Hardware:
    parsed = parse_document(yaml.safe_dump(document).encode(), "box.yaml")
    assert isinstance(parsed, Hardware)
    return parsed


def test_numbers_are_read_in_base_units():
    hardware = parse(roofline())
    assert hardware.peaks["float32"].base == 1e12
    assert hardware.memory["bandwidth"].base == 1e11
    assert hardware.memory["capacity"].base == 8 * 2**30
    assert hardware.power["idle"].base == 0


@pytest.mark.parametrize(
    ("value", "unit", "base"),
    [(1, "Gbit/s", 1.25e8), (2, "TiB", 2**41), (3, "us", 3e-6), (25, "%", 0.25), (2, "pJ", 2e-12),
     (900, "GOP/s", 9e11), (133, "mW", 0.133), (1.4, "GHz", 1.4e9)],
)  # fmt: skip
def test_units(value, unit, base):
    assert base_value(value, unit) == pytest.approx(base, rel=1e-15)


def test_a_unit_means_one_thing():
    """Two dimensions may share a unit only where it has the same factor in both."""
    seen: dict[str, float] = {}
    for units in UNITS.values():
        for unit, factor in units.items():
            assert seen.setdefault(unit, factor) == factor


SYSTOLIC = {
    "rows": figure(8, "1"), "columns": figure(8, "1"), "dataflow": "output",
    "clock": figure(1, "GHz"),
}  # fmt: skip
WRONG = [
    (("memory", "bandwidth"), figure(0, "GB/s"),
     "memory.bandwidth: 0 GB/s is impossible: it must be above 0"),
    (("power", "idle"), figure(-5, "W"),
     "power.idle: -5 W is impossible: it must not be negative"),
    (("power", "peak"), figure(0, "W"), "power.peak: 0 W is impossible: it must be above 0"),
    (("peaks", "float32"), figure(1, "GB/s"), "peaks.float32: 'GB/s' is not a unit of rate"),
    (("peaks", "fp32"), figure(1, "TFLOP/s"), "peaks.fp32: the key 'fp32' is not"),
    (("peaks",), {}, "peaks: a roofline needs the peak of at least one dtype"),
    (("memory",), {}, "memory.bandwidth: kind roofline needs it"),
    (("memory", "width"), figure(1, "GB/s"), "memory.width: unknown key."),
    (("power", "idle"), figure(51, "W"), "power.idle: 51 W is more than the peak"),
    (("memory", "bandwidth"), figure(9, "GB/s", alternatives=[figure(-9, "GB/s")]),
     "memory.bandwidth: -9 GB/s is impossible"),
    (("memory", "bandwidth"), figure(9, "GB/s", evidence="assumed"),
     "memory.bandwidth: a number that is datasheet has the evidence 'modelled', not 'assumed'"),
    (("power", "peak"), {**figure(9, "W"), "provenance": None},
     "power.peak: say its provenance: datasheet, measured, derived or recalled"),
    (("energy",), {"mac": figure(1, "pJ")}, "energy: 'mac' and 'byte' belong together"),
    (("systolic",), SYSTOLIC, "systolic: this section is not for kind roofline"),
    (("kind",), "systolic", "systolic: kind systolic needs this section"),
    (("kind",), "quantum", "kind: 'quantum' is not allowed here."),
    (("detect",), "local", "detect: what is roofline is not detected"),
    (("calibration",), {"fitted_on": "x", "compute_efficiency": figure(1.2, "1")},
     "calibration.compute_efficiency: 1.2 is impossible: a share is at most 1"),
    (("price",), figure(-1, "USD/h"), "price: -1 USD/h is negative"),
]  # fmt: skip


@pytest.mark.parametrize(("path", "value", "message"), WRONG, ids=lambda item: str(item)[:40])
def test_impossible_hardware_is_one_error_with_its_place(path, value, message):
    document = roofline()
    here = document
    for part in path[:-1]:
        here = here[part]
    here[path[-1]] = value
    with pytest.raises(ManifestError) as error:
        parse(document)
    assert str(error.value).startswith(f"box.yaml: {message}")
    assert "\n" not in str(error.value)


def test_contradicting_sources_are_both_kept():
    bandwidth = LIBRARY.resolve("hardware", "nvidia-b200-sxm").document.memory["bandwidth"]
    assert bandwidth.base == 7.7e12
    assert [(other.value, other.unit) for other in bandwidth.alternatives] == [(8000, "GB/s")]


def test_digests_of_released_manifests_do_not_change():
    """Profiles in people's hands name these digests."""
    known = {
        "local@1.0.0": "769df2784613aa901f57410b14cd4f362326c60bdf767bf6a9a9941c1cc73a6f",
        "local-tuned@1.0.0": "4c6fc5295773326cbb5fec3301fdba4e132f9fecabcada3cd6d975ebeb48bf76",
    }
    assert {name: LIBRARY.resolve("hardware", name).sha256 for name in known} == known


# -- the catalogue -----------------------------------------------------------------------------

WANTED = {
    "nvidia-p4", "nvidia-t4", "nvidia-v100-sxm", "nvidia-a10", "nvidia-a30", "nvidia-a100-sxm",
    "nvidia-l4", "nvidia-l40s", "nvidia-h100-sxm", "nvidia-h100-pcie", "nvidia-h200-sxm",
    "nvidia-b200-sxm", "amd-mi300x", "google-tpu-v4", "google-tpu-v5e", "google-tpu-v6e",
    "intel-gaudi2", "intel-gaudi3", "aws-inferentia2", "groq-lpu", "microsoft-brainwave",
    "google-coral-edge-tpu", "nvidia-jetson-agx-orin", "nvidia-jetson-orin-nx", "raspberry-pi-4",
    "intel-xeon-8592", "amd-epyc-9654", "mit-lightning", "lightspeed-a100", "lightspeed-a100x",
    "lightspeed-brainwave", "lightspeed-p4", "sushi-zcu104", "smaug-soc", "smaug-systolic",
    "cim-rram-22nm",
}  # fmt: skip
VALUES = [  # reference, path, base value: read off the sources, not off the manifests
    ("nvidia-h100-sxm", "peaks.float16", 989e12), ("nvidia-h100-sxm", "memory.bandwidth", 3.35e12),
    ("nvidia-h100-pcie", "peaks.int8", 1513e12), ("nvidia-h200-sxm", "memory.capacity", 141e9),
    ("nvidia-p4", "peaks.float16", 0.09e12), ("nvidia-t4", "memory.bandwidth", 320e9),
    ("nvidia-a30", "peaks.int8", 330e12), ("nvidia-l4", "power.peak", 72),
    ("nvidia-l40s", "peaks.float8", 733e12), ("nvidia-v100-pcie", "peaks.float32", 14e12),
    ("amd-mi300x", "peaks.float32", 163.4e12), ("google-tpu-v5e", "memory.bandwidth", 819e9),
    ("google-tpu-v4", "power.mean", 200), ("intel-gaudi3", "memory.bandwidth", 3.7e12),
    ("aws-inferentia2", "memory.capacity", 32 * 2**30), ("groq-lpu", "memory.bandwidth", 8e13),
    ("nvidia-jetson-agx-orin", "peaks.int8", 138e12), ("raspberry-pi-4", "peaks.float32", 48e9),
    ("mit-lightning", "core_array.cores", 576), ("mit-lightning", "core_array.clock", 97e9),
    ("mit-lightning", "core_array.datapath.bert-large", 115e-9 * (1 + 7 * 24)),
    ("mit-lightning", "power.peak", 91.875), ("lightspeed-p4", "core_array.clock", 1.114e9),
    ("lightspeed-a100", "core_array.datapath.dlrm", 2 * 6605e-6),
    ("sushi-zcu104", "overheads.layer", 88.7e-6), ("smaug-soc", "nvdla_like.soc.flush", 12e-9),
    ("cim-rram-22nm", "cim.clock", 1 / 2.0389e-9),
]  # fmt: skip


def test_the_catalogue_has_the_devices_it_promises():
    assert {entry.name for entry in MODELLED} >= WANTED


@pytest.mark.parametrize("entry", MODELLED, ids=lambda entry: entry.name)
def test_every_number_of_the_catalogue_says_where_it_is_from(entry):
    document = LIBRARY.resolve("hardware", entry.name).document
    numbers = list(figures(document))
    assert numbers
    for path, number in numbers:
        for stated in (number, *number.alternatives):
            assert stated.provenance is not None, path
            assert stated.evidence in EVIDENCE_OF[stated.provenance], path
            assert len(stated.source) > 10, path
            recalled = stated.source.startswith("recalled")
            assert recalled == (stated.provenance == "recalled"), path
        for other in number.alternatives:
            assert (other.value, other.unit) != (number.value, number.unit), path


@pytest.mark.parametrize(("name", "path", "value"), VALUES)
def test_values_are_those_of_the_sources(name, path, value):
    numbers = dict(figures(LIBRARY.resolve("hardware", name).document))
    assert numbers[path].base == pytest.approx(value, rel=1e-5)


def test_no_two_devices_are_the_same():
    documents = [LIBRARY.resolve("hardware", entry.name).document for entry in MODELLED]
    aliases = Counter(alias for document in documents for alias in document.aliases)
    assert [alias for alias, times in aliases.items() if times > 1] == []
    numbers = [
        tuple((path, figure.base) for path, figure in figures(document)) for document in documents
    ]
    assert len(set(numbers)) == len(numbers)
    descriptions = Counter(document.description for document in documents)
    assert max(descriptions.values()) == 1
