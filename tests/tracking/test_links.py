from __future__ import annotations

import json
from urllib.parse import parse_qs, urlsplit

from profleet.tracking import deep_link


def test_the_list_of_runs_opens_in_the_model_training_view() -> None:
    link = deep_link("http://host:5000", "7")
    assert link == "http://host:5000/#/experiments/7/runs?workflowType=machine_learning"


def test_a_base_with_a_path_and_slash_keeps_the_path() -> None:
    assert deep_link("https://host/mlflow/", "7").startswith("https://host/mlflow/#/experiments/7/")


def test_one_run_and_several_runs() -> None:
    one = deep_link("http://host", "7", ["abc"])
    assert one == "http://host/#/experiments/7/runs/abc?workflowType=machine_learning"
    several = urlsplit(deep_link("http://host", "7", ["abc", "def"])).fragment
    path, _, query = several.partition("?")
    fields = parse_qs(query)
    assert path == "/compare-runs"
    assert json.loads(fields["runs"][0]) == ["abc", "def"]
    assert json.loads(fields["experiments"][0]) == ["7"]
    assert fields["workflowType"] == ["machine_learning"]
