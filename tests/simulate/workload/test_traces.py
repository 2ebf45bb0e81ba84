"""Readers of traces: what they find in each format, and what they refuse, by file and line."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from profleet.simulate.workload.traces import FORMATS, CsvSettings, Source, TraceError, lines
from workloads import shared_data

AZURE = """TIMESTAMP,ContextTokens,GeneratedTokens
2023-11-16 18:15:46.6805900,374,44
2023-11-16 18:15:50.9951690,396,109
2023-11-16 18:15:51.2224670,879,55
"""
AZURE_2024 = """TIMESTAMP,ContextTokens,GeneratedTokens
2024-05-10 00:00:00.009930+00:00,2162,5
2024-05-10 00:00:01+00:00,2399,6
2024-05-10 00:00:01.000001+00:00,76,15
"""
BURSTGPT = """Timestamp,Session ID,Elapsed time,Model,Request tokens,Response tokens,Total tokens,\
Log Type
5,,,ChatGPT,472,18,490,Conversation log
45,17,2.5,ChatGPT,1087,230,1317,Conversation log
118.25,,,GPT-4,417,0,417,API log
"""
FUNCTIONS = """app,func,end_timestamp,duration
a1,f1,5160.142570018768,0.134
a2,f2,5241.567729949951,42.356
a2,f3,5219.518173933029,0.108
a1,f1,5161.280997037888,0.013
"""
LIGHTNING = "model,arrival_ns\nResNet-18,11745744\nVGG-16,26028694\nResNet-18,34916316\n"
MOONCAKE = "".join(
    json.dumps({"timestamp": t, "input_length": i, "output_length": o, "hash_ids": [46, 47]}) + "\n"
    for t, i, o in [(0, 6955, 52), (0, 6472, 26), (3000, 1000, 8), (3000.5, 2, 1)]
)


@pytest.fixture
def write(tmp_path):
    def write(text: str | bytes, name: str = "trace.csv") -> Path:
        path = tmp_path / name
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return path

    return write


def rows_of(path, form, columns=None, window=None):
    source = Source(path, FORMATS[form], columns, window)
    blocks = list(source.rows(source.summary().state))

    def column(name):
        parts = [getattr(rows, name) for rows in blocks]
        return None if parts[0] is None else np.concatenate(parts).tolist()

    return {
        name: column(name) for name in ("time_ns", "label", "input_tokens", "output_tokens")
    } | {"names": blocks[0].names}


def refused(path, form, columns=None):
    with pytest.raises(TraceError) as error:
        Source(path, FORMATS[form], columns).summary()
    message = str(error.value)
    assert str(path) in message
    assert error.value.exit_code == 2
    return message


# The formats.


def test_azure_2023(write):
    found = rows_of(write(AZURE), "azure_llm_2023")
    assert found["time_ns"] == [0, 4_314_579_000, 4_541_877_000]
    assert found["input_tokens"] == [374, 396, 879]
    assert found["output_tokens"] == [44, 109, 55]
    assert found["label"] is None


def test_azure_2024_has_zones_and_fewer_decimals_now_and_then(write):
    found = rows_of(write(AZURE_2024), "azure_llm_2024")
    assert found["time_ns"] == [0, 990_070_000, 990_071_000]
    assert found["input_tokens"] == [2162, 2399, 76]


def test_burstgpt(write):
    found = rows_of(write(BURSTGPT), "burstgpt")
    assert found["time_ns"] == [0, 40 * 10**9, 113_250_000_000]
    assert found["names"] == ["ChatGPT", "GPT-4"]
    assert found["label"] == [0, 0, 1]
    assert found["output_tokens"] == [18, 230, 0]


def test_azure_functions_arrive_when_they_start_in_that_order(write):
    found = rows_of(write(FUNCTIONS), "azure_functions_2021")
    starts = np.array([5160.008570018768, 5161.267997037888, 5199.211729949951, 5219.410173933029])
    assert found["time_ns"] == pytest.approx(np.rint((starts - starts[0]) * 1e9), abs=1)
    assert [found["names"][label] for label in found["label"]] == ["f1", "f1", "f2", "f3"]


def test_lightning_counts_from_the_start_of_the_period(write):
    found = rows_of(write(LIGHTNING), "lightning")
    assert found["time_ns"] == [11745744, 26028694, 34916316]
    assert found["names"] == ["ResNet-18", "VGG-16"]
    assert found["label"] == [0, 1, 0]


def test_mooncake(write):
    found = rows_of(write(MOONCAKE, "trace.jsonl"), "mooncake")
    assert found["time_ns"] == [0, 0, 3 * 10**9, 3_000_500_000]
    assert found["input_tokens"] == [6955, 6472, 1000, 2]
    assert found["output_tokens"] == [52, 26, 8, 1]


@pytest.mark.parametrize(
    ("unit", "first", "second", "apart"),
    [
        ("s", "1700158546.680590001", "1700158546.680590003", 2),
        ("ms", "0.25", "1e3", 999_750_000),
        ("us", "7", "7.001", 1),
        ("ns", "9007199254740993", "9007199254740994", 1),
        ("iso", "2024-05-10T13:00:00", "2024-05-10 13:00:00.123456789", 123_456_789),
    ],
)
def test_csv_times_are_exact(write, unit, first, second, apart):
    path = write(f"who;at\nx;{first}\ny;{second}\n")
    columns = CsvSettings(time="at", unit=unit, model="who", delimiter=";")
    found = rows_of(path, "csv", columns)
    assert found["time_ns"] == [0, apart]
    assert found["names"] == ["x", "y"]


def test_csv_with_durations_is_sorted_by_start(write):
    path = write("end,took\n10,1\n10.5,5\n11,0\n")
    found = rows_of(path, "csv", CsvSettings(time="end", unit="s", duration="took"))
    assert found["time_ns"] == [0, 3_500_000_000, 5_500_000_000]


def test_columns_that_are_not_used_may_hold_anything(write):
    path = write("x,t,x\n,1,\xff\nnan,2,\n", "odd.csv")
    assert rows_of(path, "csv", CsvSettings(time="t", unit="s"))["time_ns"] == [0, 10**9]


@pytest.mark.parametrize("delimiter", ["\t", " ", "|"])
def test_delimiters(write, delimiter):
    path = write(f"t{delimiter}n\n1{delimiter}5\n")
    found = rows_of(
        path, "csv", CsvSettings(time="t", unit="s", input_tokens="n", delimiter=delimiter)
    )
    assert found["input_tokens"] == [5]


def test_line_ends_marks_and_quotes_do_not_matter(write):
    plain = rows_of(write(AZURE), "azure_llm_2023")
    quoted = AZURE.replace("374", '"374"').replace("\n", "\r\n").rstrip()
    assert rows_of(write("\ufeff" + quoted + "\r\n\r\n\n"), "azure_llm_2023") == plain
    assert rows_of(write(gzip.compress(quoted.encode()), "x"), "azure_llm_2023") == plain


@pytest.mark.parametrize("size", [1, 7, 64, 300])
@pytest.mark.parametrize("form", ["azure_llm_2023", "mooncake", "burstgpt"])
def test_block_boundaries_do_not_matter(write, monkeypatch, form, size):
    text = {"azure_llm_2023": AZURE, "mooncake": MOONCAKE, "burstgpt": BURSTGPT}[form]
    whole = rows_of(write(text), form)
    monkeypatch.setattr(lines, "BLOCK_BYTES", size)
    assert rows_of(write(text + "\n\n"), form) == whole
    gap = write(text + "\n\n" + text.splitlines()[-1] + "\n", "gap.csv")
    number = text.count("\n") + 1
    assert f"line {number}:" in refused(gap, form)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(
    rows=st.lists(
        st.tuples(
            st.integers(0, 2**60),
            st.text(st.characters(codec="utf-8", exclude_characters="\r\n\0"), min_size=1),
            st.integers(0, 10**9),
        ),
        min_size=1,
        max_size=30,
    )
)
def test_whatever_is_written_is_read(tmp_path, rows):
    rows.sort(key=lambda row: row[0])
    path = tmp_path / "any.csv"
    with path.open("w", encoding="utf-8", newline="") as file:
        file.write("t,model,n\n")
        for time, name, tokens in rows:
            file.write('{},"{}",{}\n'.format(time, name.replace('"', '""'), tokens))
    columns = CsvSettings(time="t", unit="ns", model="model", input_tokens="n")
    found = rows_of(path, "csv", columns)
    assert found["time_ns"] == [time - rows[0][0] for time, _, _ in rows]
    assert [found["names"][label] for label in found["label"]] == [name for _, name, _ in rows]
    assert found["input_tokens"] == [tokens for _, _, tokens in rows]


# Real files.


def test_real_azure_conversations():
    path = shared_data("azure-llm-2023/AzureLLMInferenceTrace_conv.csv.gz")
    found = Source(path, FORMATS["azure_llm_2023"]).summary()
    assert found.rates.requests == 19_366
    assert found.rates.span_ns == 3_501_721_937_000
    assert found.rates.mean_rps == pytest.approx(5.53, abs=0.005)
    assert found.rates.gap_cv == pytest.approx(1.09, abs=0.005)
    assert found.mean_input_tokens == pytest.approx(1155, abs=0.5)
    assert found.mean_output_tokens == pytest.approx(211, abs=0.5)


def test_real_azure_code():
    path = shared_data("azure-llm-2023/AzureLLMInferenceTrace_code.csv.gz")
    found = Source(path, FORMATS["azure_llm_2023"]).summary()
    assert found.rates.requests == 8_819
    assert found.rates.mean_rps == pytest.approx(2.57, abs=0.005)
    assert found.rates.gap_cv == pytest.approx(13.15, abs=0.005)
    assert found.mean_input_tokens == pytest.approx(2048, abs=0.5)
    assert found.mean_output_tokens == pytest.approx(28, abs=0.5)


@pytest.mark.parametrize("number", [1, 2, 3])
def test_real_lightning_schedules(number):
    path = shared_data(f"lightning-traces/mixed_0.06Gbps_{number}.csv.gz")
    found = Source(path, FORMATS["lightning"]).summary()
    assert found.rates.requests == sum(found.labels.values()) == 5000
    assert found.rates.mean_rps == pytest.approx(84.3, rel=0.06)
    assert len(found.labels) == 7


# What is refused.

HEADER = "TIMESTAMP,ContextTokens,GeneratedTokens"
MALFORMED = {
    "runs backwards": (AZURE + "2023-11-16 18:15:51.0,1,1\n", "line 5: earlier than the line"),
    "empty time": (AZURE.replace("2023-11-16 18:15:50.9951690", ""), "line 3: TIMESTAMP is empty"),
    "empty count": (AZURE.replace("396", " "), "line 3: ContextTokens is empty"),
    "no number": (AZURE.replace("396", "many"), "line 3: ContextTokens is 'many', not a whole"),
    "not a number": (AZURE.replace("396", "NaN"), "line 3: ContextTokens is 'NaN', not a whole"),
    "a fraction": (AZURE.replace("396", "3.5"), "line 3: ContextTokens is '3.5', not a whole"),
    "negative": (AZURE.replace("396", "-3"), "line 3: ContextTokens is negative"),
    "far too large": (AZURE.replace("396", "9" * 18), "line 3: ContextTokens is negative or far"),
    "beyond any integer": (AZURE.replace("396", "9" * 99), "line 3: ContextTokens is '9999"),
    "no time": (AZURE.replace("2023-11-16 18:15:50", "noon"), "line 3: TIMESTAMP is 'noon."),
    "mixed zones": (AZURE.replace("50.9951690", "50Z"), "line 3: TIMESTAMP is '2023-11-16"),
    "too few cells": (AZURE.replace(",109", ""), "line 3: 2 cells where the header names 3"),
    "too many cells": (AZURE.replace("109", "109,7"), "line 3: 4 cells where the header names 3"),
    "cut off": (AZURE.rstrip()[:-3], "line 4: 2 cells where the header names 3"),
    "empty line": (AZURE.replace(",44", ",44\n"), "line 3: 0 cells"),
    "open quote": (AZURE.replace("396", '"396'), "line 3: not CSV text"),
    "wrong column": (AZURE.replace("ContextTokens", "T"), "line 1: no column 'ContextTokens'"),
    "twice a column": (AZURE.replace(HEADER, HEADER + ",TIMESTAMP"), "line 1: two columns are"),
    "no header": (AZURE.split("\n", 1)[1], "line 1: no column 'TIMESTAMP'"),
    "wrong delimiter": (AZURE.replace(",", ";"), "line 1: no column 'TIMESTAMP'"),
    "not text": (AZURE.encode().replace(b"396", b"\xff\xfe"), "line 3: not CSV text"),
    "header only": (AZURE.split("\n", 1)[0], "holds no requests"),
    "empty": ("", "is empty"),
    "only line ends": ("\r\n\n\n", "is empty"),
    "binary": (bytes(range(1, 256)) * 9, "line 1:"),
}  # fmt: skip


@pytest.mark.parametrize("case", MALFORMED)
def test_a_malformed_csv_is_refused_by_line(write, case):
    text, said = MALFORMED[case]
    message = refused(write(text), "azure_llm_2023")
    assert said in message
    assert "\n" not in message
    assert len(message) < 700


MALFORMED_JSON = {
    "cut off": (MOONCAKE[:-20], "line 4: not a JSON object (a file that was cut off?)"),
    "not an object": (MOONCAKE + "[1]\n", "line 5: not a JSON object"),
    "no key": (MOONCAKE.replace("input_length", "length", 1), "line 1: no key 'input_length'"),
    "not a number": (MOONCAKE.replace("3000.5", "NaN"), "line 4: not a JSON object"),
    "words": (MOONCAKE.replace("3000.5", '"soon"'), "line 4: timestamp is soon, not a number"),
    "true": (MOONCAKE.replace("3000.5", "true"), "line 4: timestamp is True, not a number"),
    "negative": (MOONCAKE.replace("3000.5", "-1"), "line 4: timestamp is -1, not a number"),
    "infinite": (MOONCAKE.replace("3000.5", "1e999"), "line 4: timestamp is 1E+999, not a number"),
    "a fraction": (MOONCAKE.replace("6955", "6955.5"), "line 1: input_length is 6955.5, not"),
    "runs backwards": (MOONCAKE.replace("3000.5", "2"), "line 4: earlier than the line before"),
    "empty line": (MOONCAKE.replace("\n", "\n\n", 1), "line 2: not a JSON object"),
    "deep": (MOONCAKE + "[" * 100_000 + "\n", "line 5: not a JSON object"),
    "huge number": (MOONCAKE.replace("3000.5", "9" * 5000), "line 4: not a JSON object"),
}


@pytest.mark.parametrize("case", MALFORMED_JSON)
def test_a_malformed_jsonl_is_refused_by_line(write, case):
    text, said = MALFORMED_JSON[case]
    message = refused(write(text), "mooncake")
    assert said in message
    assert len(message) < 700


OTHERS = {
    "negative seconds": ("burstgpt", BURSTGPT.replace("\n5,", "\n-5,"), "line 2: Timestamp is neg"),
    "nan seconds": ("burstgpt", BURSTGPT.replace("45", "nan", 1), "line 3: Timestamp is 'nan'"),
    "infinite": ("burstgpt", BURSTGPT.replace("118.25", "inf"), "line 4: Timestamp is 'inf'"),
    "eternal": ("burstgpt", BURSTGPT.replace("118.25", "1e15"), "line 4: Timestamp is '1e15'"),
    "no model": ("burstgpt", BURSTGPT.replace("GPT-4", ""), "line 4: Model is empty"),
    "negative length": ("azure_functions_2021", FUNCTIONS.replace(",0.108", ",-1"),
                        "line 4: duration is negative"),
    "no length": ("azure_functions_2021", FUNCTIONS.replace(",0.108", ",x"),
                  "line 4: duration is 'x', not a duration"),
    "not in order": ("lightning", LIGHTNING + "VGG-16,3\n", "line 5: earlier than the line"),
}  # fmt: skip


@pytest.mark.parametrize("case", OTHERS)
def test_other_formats_refuse_by_line_too(write, case):
    form, text, said = OTHERS[case]
    assert said in refused(write(text), form)


def test_a_missing_file_or_a_folder_is_refused(tmp_path):
    assert "No such file" in refused(tmp_path / "none.csv", "burstgpt")
    assert "Is a directory" in refused(tmp_path, "burstgpt")


def test_every_truncation_of_a_compressed_file_is_noticed(write):
    packed = gzip.compress((AZURE + "2023-11-16 19:00:00.0,1,1\n" * 500).encode())
    for length in range(0, len(packed), 7):
        assert refused(write(packed[:length], "t.csv.gz"), "azure_llm_2023")
    assert "cut off" in refused(write(packed[:-1], "t.csv.gz"), "azure_llm_2023")


def test_a_damaged_compressed_file_is_refused(write):
    packed = bytearray(gzip.compress((AZURE * 1).encode()))
    packed[len(packed) // 2] ^= 0xFF
    assert "damaged" in refused(write(bytes(packed), "t.csv.gz"), "azure_llm_2023")


@pytest.mark.parametrize(
    ("filler", "said"),
    [(b"7", "longer than 1 MiB"), (b"7,", "longer than"), (b"\n", "empty lines")],
)
def test_a_line_without_end_is_refused_and_not_collected(write, filler, said):
    text = AZURE.encode() + filler * (lines.BLOCK_BYTES * 2 // len(filler)) + b"\n1,2,3\n"
    message = refused(write(text), "azure_llm_2023")
    assert "line 5: " in message
    assert said in message


def test_a_long_line_among_short_ones_is_refused_by_its_number(write):
    text = AZURE + "7" * (lines.LINE_BYTES + 1) + "\n" + AZURE
    assert "line 5: longer than 1 MiB" in refused(write(text), "azure_llm_2023")


@settings(
    max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None
)
@given(data=st.data())
def test_a_damaged_file_is_refused_or_read_without_loss(tmp_path, data):
    """Whatever happens to a byte: one clear error, or as many requests as there are lines."""
    form, text = data.draw(
        st.sampled_from([("azure_llm_2023", AZURE), ("mooncake", MOONCAKE), ("burstgpt", BURSTGPT)])
    )
    raw = bytearray(text.encode())
    at = data.draw(st.integers(0, len(raw) - 1))
    raw[at] = data.draw(st.integers(0, 255))
    path = tmp_path / "damaged"
    path.write_bytes(bytes(raw))
    held = bytes(raw).rstrip().count(b"\n") + (form == "mooncake")
    try:
        found = Source(path, FORMATS[form]).summary().rates.requests
    except TraceError as error:
        assert f"Trace {path}" in str(error)  # noqa: PT017  # not raising is fine too
    else:
        assert found == held
