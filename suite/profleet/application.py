"""What the Hydra commands share: starting the application, and saying what went wrong in it."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Sequence
from types import FrameType

import hydra
from hydra.errors import HydraException
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException

from profleet.errors import ConfigError, ProfleetError, StoreError
from profleet.execute.mistakes import options_first, refuse_combinations, sentence
from profleet.paths import data_dir


class Refused(BaseException):
    """A mistake found in a callback, where Hydra turns every ``Exception`` into a warning."""

    def __init__(self, mistake: ProfleetError) -> None:
        self.mistake = mistake


def launch(
    task: Callable[[DictConfig], None],
    config_name: str,
    arguments: Sequence[str],
) -> None:
    """Compose ``conf/<config_name>.yaml`` with the arguments and call ``task`` for every job.

    Args:
        task: executes one composed configuration.
        config_name: of the root configuration.
        arguments: what came after the command's name.

    Raises:
        ConfigError: the command line cannot be composed.
        StoreError: a folder cannot be written.
        KeyboardInterrupt: from the user, or by SIGTERM or SIGHUP.
    """
    refuse_combinations(arguments)
    os.environ["HYDRA_FULL_ERROR"] = "1"  # errors come back here instead of Hydra's own printing
    sys.argv = [sys.argv[0], *options_first(arguments)]
    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) != signal.SIG_IGN:  # nohup means it
            signal.signal(number, _terminate)
    application = hydra.main(
        config_path=str(data_dir("conf")), config_name=config_name, version_base="1.3"
    )(task)
    try:
        application()
    except (HydraException, OmegaConfBaseException) as error:
        raise ConfigError(sentence(error)) from None
    except Refused as refused:
        raise refused.mistake from None
    except OSError as error:
        if error.filename is None:
            raise
        raise StoreError(
            f"{error.filename}: {error.strerror}. Choose a folder you can write: store=DIR."
        ) from None


def _terminate(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt
