import contextlib
import io
import pickle
import zipfile

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from profleet.errors import StoreError
from profleet.profile import samples as module
from profleet.profile.samples import COLUMNS, STEADY, Samples
from support import Synthetic, make_samples

SMALL = Synthetic(batch_sizes=(1, 2), processes=2, samples=6, idle_samples=3)


def columns(samples):
    return {name: getattr(samples, name) for name in COLUMNS}


def same(one, other):
    return all(np.array_equal(getattr(one, name), getattr(other, name)) for name in COLUMNS)


def test_npz_and_parquet_keep_every_sample(tmp_path):
    samples = make_samples(SMALL)
    np.savez(tmp_path / "samples.npz", **columns(samples))
    read = Samples.from_npz(tmp_path / "samples.npz")
    assert same(read, samples)
    read.to_parquet(tmp_path / "samples.parquet")
    assert same(Samples.from_parquet(tmp_path / "samples.parquet"), samples)


def test_compressed_npz_is_read_too(tmp_path):
    samples = make_samples(SMALL)
    np.savez_compressed(tmp_path / "samples.npz", **columns(samples))
    assert same(Samples.from_npz(tmp_path / "samples.npz"), samples)


def test_no_samples_at_all_are_samples(tmp_path):
    empty = Samples(**{name: np.array([], dtype) for name, dtype in COLUMNS.items()})
    np.savez(tmp_path / "samples.npz", **columns(empty))
    Samples.from_npz(tmp_path / "samples.npz").to_parquet(tmp_path / "samples.parquet")
    assert len(Samples.from_parquet(tmp_path / "samples.parquet")) == 0


def test_parquet_reads_well_without_profleet(tmp_path):
    samples = make_samples(SMALL)
    samples.to_parquet(tmp_path / "samples.parquet")
    frame = pq.read_table(tmp_path / "samples.parquet").to_pandas()
    assert list(frame.columns) == list(COLUMNS)
    assert set(frame["phase"]) == {"warmup", "steady", "idle"}
    assert (frame["phase"] == "steady").sum() == (samples.phase == STEADY).sum() == 24


def test_latencies_come_by_process_in_milliseconds():
    samples = make_samples(SMALL)
    first, second = samples.latency_ms()
    assert len(first) + len(second) == len(samples)
    assert first[0] == samples.latency_ns[0] / 1e6


@pytest.mark.parametrize(
    ("column", "value"),
    [("phase", 4), ("phase", -1), ("batch_size", 0), ("process", -1), ("gap_ms", -1.0),
     ("gap_ms", np.nan), ("gap_ms", np.inf), ("latency_ns", -1)],
)  # fmt: skip
def test_an_impossible_value_is_refused(column, value):
    content = columns(make_samples(SMALL))
    content[column] = content[column].copy()
    content[column][3] = value
    with pytest.raises(StoreError, match=f"'{column}'.*cannot have been measured"):
        Samples(**content)


@pytest.mark.parametrize(
    "spoil",
    [
        lambda c: c["latency_ns"].astype(np.float64),
        lambda c: c["latency_ns"][:-1],
        lambda c: c["latency_ns"][:, np.newaxis],
        lambda c: c["latency_ns"].astype(">i8"),
    ],
    ids=["dtype", "length", "dimensions", "byte order"],
)
def test_a_column_of_another_kind_is_refused(tmp_path, spoil):
    content = columns(make_samples(SMALL))
    content["latency_ns"] = spoil(content)
    np.savez(tmp_path / "samples.npz", **content)
    with pytest.raises(StoreError, match=r"latency_ns|column of samples"):
        Samples.from_npz(tmp_path / "samples.npz")


@pytest.mark.parametrize("change", ["missing", "extra"])
def test_the_columns_are_exactly_those_of_the_protocol(tmp_path, change):
    content = columns(make_samples(SMALL))
    if change == "missing":
        del content["gap_ms"]
    else:
        content["secret"] = content["phase"]
    np.savez(tmp_path / "samples.npz", **content)
    with pytest.raises(StoreError, match="exactly the columns"):
        Samples.from_npz(tmp_path / "samples.npz")


class Bomb:
    def __reduce__(self):
        return (pytest.fail, ("a sample file was unpickled",))


def test_nothing_is_unpickled(tmp_path):
    path = tmp_path / "samples.npz"
    with zipfile.ZipFile(path, "w") as archive:
        for name in COLUMNS:
            buffer = io.BytesIO()
            header = {"descr": "|O", "fortran_order": False, "shape": (1,)}
            np.lib.format.write_array_header_1_0(buffer, header)
            archive.writestr(f"{name}.npy", buffer.getvalue() + pickle.dumps(Bomb()))
    with pytest.raises(StoreError, match="object"):
        Samples.from_npz(path)


def test_a_header_that_claims_more_than_there_is_allocates_nothing(tmp_path):
    path = tmp_path / "samples.npz"
    with zipfile.ZipFile(path, "w") as archive:
        for name, dtype in COLUMNS.items():
            buffer = io.BytesIO()
            header = {"descr": dtype.str, "fortran_order": False, "shape": (10**15,)}
            np.lib.format.write_array_header_1_0(buffer, header)
            archive.writestr(f"{name}.npy", buffer.getvalue())
    with pytest.raises(StoreError, match="not a column"):
        Samples.from_npz(path)


def test_a_zip_bomb_is_not_unpacked(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "MAX_SAMPLES", 1000)
    content = {name: np.zeros(100_000, dtype) for name, dtype in COLUMNS.items()}
    np.savez_compressed(tmp_path / "samples.npz", **content)
    with pytest.raises(StoreError, match="more than 1000 samples"):
        Samples.from_npz(tmp_path / "samples.npz")


def test_too_long_a_parquet_file_is_not_read(tmp_path, monkeypatch):
    make_samples(SMALL).to_parquet(tmp_path / "samples.parquet")
    monkeypatch.setattr(module, "MAX_SAMPLES", 10)
    with pytest.raises(StoreError, match="more than 10 samples"):
        Samples.from_parquet(tmp_path / "samples.parquet")


@pytest.mark.parametrize("read", [Samples.from_npz, Samples.from_parquet])
def test_missing_and_damaged_files_are_one_sentence(tmp_path, read):
    with pytest.raises(StoreError, match=r"No such file|is missing"):
        read(tmp_path / "nothing")
    (tmp_path / "noise").write_bytes(b"PK\x03\x04 this is no archive" * 20)
    with pytest.raises(StoreError, match="cannot be read") as got:
        read(tmp_path / "noise")
    assert not str(got.value).endswith("..")


@pytest.mark.parametrize("kind", ["npz", "parquet"])
def test_every_truncation_is_refused(tmp_path, kind):
    samples = make_samples(SMALL)
    whole = tmp_path / f"samples.{kind}"
    if kind == "npz":
        np.savez(whole, **columns(samples))
    else:
        samples.to_parquet(whole)
    content = whole.read_bytes()
    read = Samples.from_npz if kind == "npz" else Samples.from_parquet
    for length in range(0, len(content), max(1, len(content) // 40)):
        (tmp_path / "cut").write_bytes(content[:length])
        with pytest.raises(StoreError):
            read(tmp_path / "cut")


@pytest.mark.parametrize("kind", ["npz", "compressed npz", "parquet"])
def test_flipped_bytes_never_escape_as_another_error(tmp_path, kind):
    samples = make_samples(SMALL)
    whole = tmp_path / f"samples.{kind.split()[-1]}"
    if kind == "parquet":
        samples.to_parquet(whole)
    else:
        (np.savez if kind == "npz" else np.savez_compressed)(whole, **columns(samples))
    content = bytearray(whole.read_bytes())
    random = np.random.default_rng(3)
    read = Samples.from_parquet if kind == "parquet" else Samples.from_npz
    for _ in range(150):
        spoiled = bytearray(content)
        spoiled[int(random.integers(len(content)))] ^= int(random.integers(1, 256))
        (tmp_path / "flipped").write_bytes(spoiled)
        with contextlib.suppress(StoreError):
            read(tmp_path / "flipped")


def test_parquet_of_another_version_is_refused(tmp_path):
    path = tmp_path / "samples.parquet"
    make_samples(SMALL).to_parquet(path)
    table = pq.read_table(path).replace_schema_metadata({"profleet.schema": "profleet/samples/v2"})
    pq.write_table(table, path)
    with pytest.raises(StoreError, match=r"samples/v2.*newer.*upgrade"):
        Samples.from_parquet(path)


def test_parquet_with_a_phase_nobody_knows_is_refused(tmp_path):
    path = tmp_path / "samples.parquet"
    make_samples(SMALL).to_parquet(path)
    table = pq.read_table(path)
    phases = pa.array(["lunch"] * len(table))
    table = table.set_column(0, "phase", phases).replace_schema_metadata(table.schema.metadata)
    pq.write_table(table, path)
    with pytest.raises(StoreError, match="'phase'"):
        Samples.from_parquet(path)


@given(hnp.arrays(np.int64, st.integers(0, 30), elements=st.integers(0, 2**62)))
def test_any_latencies_survive_the_round_trip(tmp_path_factory, latencies):
    rows = len(latencies)
    samples = Samples(
        phase=np.full(rows, STEADY, np.int8), batch_size=np.full(rows, 3, np.int32),
        process=np.zeros(rows, np.int16), gap_ms=np.zeros(rows, np.float32),
        start_ns=np.arange(rows, dtype=np.int64), latency_ns=latencies,
    )  # fmt: skip
    path = tmp_path_factory.mktemp("samples") / "samples.parquet"
    samples.to_parquet(path)
    assert same(Samples.from_parquet(path), samples)
