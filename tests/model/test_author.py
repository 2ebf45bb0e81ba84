from __future__ import annotations

import pytest

from onnx_cases import disagreement
from profleet.errors import ManifestError
from profleet.manifest.loading import parse_document
from profleet.model.artifact import obtain
from profleet.model.author import MARKER, main, parameter_count, render
from profleet.model.builders import build_model
from profleet.model.reference import reference_outputs

METADATA = "metadata:\n  parameters: {}\n"


@pytest.fixture
def manifest(tiny):
    path = tiny.folder / "tiny@1.0.0.yaml"
    path.write_text(tiny.head() + METADATA)
    return path


def test_the_computed_part_makes_a_valid_manifest(tiny, manifest):
    assert main([str(manifest)]) == 0
    text = manifest.read_text()
    assert text.startswith(tiny.head() + "metadata:\n  parameters: {value: 2048, ")
    model = parse_document(text.encode(), manifest.name)
    assert (model.artifact.sha256, model.artifact.bytes) == (tiny.sha256, len(tiny.data))
    assert model.metadata["parameters"].evidence == "measured"
    found = reference_outputs(obtain(model, tiny.folder), model, 1, 2)
    assert disagreement(model.check, found) < 1e-3


def test_writing_again_changes_nothing_and_check_says_so(manifest, capsys):
    assert main(["--check", str(manifest)]) == 1
    assert "+artifact: " in capsys.readouterr().out
    assert MARKER not in manifest.read_text()
    main([str(manifest)])
    before = manifest.read_text()
    assert main(["--check", str(manifest)]) == 0
    assert main([str(manifest)]) == 0
    assert manifest.read_text() == before


def test_settings_of_a_check_are_kept_and_its_numbers_are_not(manifest):
    main([str(manifest)])
    text = manifest.read_text()
    edited = text.replace("rtol: 0.0001", "rtol: 0.002").replace("batch: 2", "batch: 3")
    edited = edited.replace("abs_max: ", "abs_max: 1")
    again = render(edited, manifest)
    model = parse_document(again.encode(), manifest.name)
    assert (model.check.rtol, model.check.batch) == (0.002, 3)
    assert model.check.outputs["y"].shape == (3, 32)
    assert model.check.outputs["y"].abs_max < 10


def test_errors_name_the_file_and_the_place(manifest, capsys):
    manifest.write_text(manifest.read_text().replace("task: test", "task: test\ntaks: test"))
    assert main([str(manifest)]) == 2
    assert "taks" in capsys.readouterr().err
    assert main(["no-such-model"]) == 2
    assert "no-such-model@VERSION.yaml" in capsys.readouterr().err


def test_computed_keys_above_the_marker_are_refused(tiny, manifest):
    text = tiny.head() + "artifact: {format: onnx}\n"
    with pytest.raises(ManifestError, match="'artifact' is computed"):
        render(text, manifest)


def test_running_statistics_and_scalars_are_no_parameters():
    assert parameter_count(build_model("resnet", {"layers": 18}, 1)) == 11_689_512
