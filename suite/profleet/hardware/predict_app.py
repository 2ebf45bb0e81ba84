"""``profleet predict``: the Hydra application that asks device models."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig

from profleet.application import launch
from profleet.errors import ProfleetError
from profleet.execute.invocation import say
from profleet.execute.settings import check, resolved
from profleet.hardware.forecast import LAYER_COLUMNS, Answer, PredictSettings, forecast
from profleet.profile.store import RESULT, write_json, writing
from profleet.simulate.invocation import COMMAND, check_store

LAYERS = "layers.parquet"


def main(arguments: Sequence[str]) -> int:
    """Run the application with the arguments after ``profleet predict``; return the exit code."""
    try:
        launch(_task, "predict", arguments)
        if COMMAND.mistake is not None:
            raise COMMAND.mistake
    except KeyboardInterrupt:
        COMMAND.interrupted = True
    finally:
        COMMAND.tidy()
    if COMMAND.interrupted:
        say("Interrupted.")
        return 130
    return int(COMMAND.failed)


def _task(config: DictConfig) -> None:
    """Predict for one composed configuration; a mistake fails this job, not the sweep around it."""
    hydra_config = HydraConfig.get()
    folder = Path(hydra_config.runtime.output_dir)
    multirun = hydra_config.mode == RunMode.MULTIRUN
    try:
        settings = check(PredictSettings, resolved(config))
        check_store(settings.store)
        answer = write_forecast(folder, forecast(settings))
    except ProfleetError as error:
        if not multirun:
            COMMAND.mistake = error  # raised in main, past what Hydra prints of exceptions
            return
        say(f"[{hydra_config.job.num}] {error}")
        COMMAND.failed = True
        return
    from profleet.report.forecasts import print_forecast

    print_forecast(answer, settings.layers)
    say(f"Results: {folder}")


def write_forecast(folder: Path, answer: Answer) -> Answer:
    """Write the layers, and ``result.json`` last; return the answer with its paths.

    Raises:
        StoreError: the folder cannot be written.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    words, counts = (
        {"name", "op", "dtype", "bound"},
        {"batch_size", "layer", "macs", "ops", "bytes"},
    )
    kinds = {name: pa.string() for name in words} | {name: pa.int64() for name in counts}
    schema = pa.schema([(name, kinds.get(name, pa.float64())) for name in LAYER_COLUMNS])
    table = pa.Table.from_pylist(answer.layers, schema=schema)
    with writing(folder / LAYERS) as temporary:
        pq.write_table(table, temporary, compression="zstd")
    whole = answer.forecast.model_copy(update={"paths": {LAYERS: LAYERS}})
    write_json(folder / RESULT, whole.model_dump(mode="json", by_alias=True))
    return Answer(whole, answer.layers)
