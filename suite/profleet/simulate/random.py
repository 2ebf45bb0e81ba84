"""Random streams: one per replication and subsystem, all from one seed.

Changing one part of a simulation leaves the draws of the others as they are: with another router
the same requests arrive at the same times with the same service draws (common random numbers).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

import numpy as np

Subsystem = Literal["arrivals", "service", "routing", "failures", "fleet"]

SUBSYSTEMS: Final[tuple[Subsystem, ...]] = ("arrivals", "service", "routing", "failures", "fleet")
"""The place of a name is part of its stream: append, never reorder."""


@dataclass(frozen=True)
class Streams:
    """The random streams of one replication."""

    seed: int
    replication: int = 0

    def sequence(self, subsystem: Subsystem) -> np.random.SeedSequence:
        """Return the seed of one subsystem's stream."""
        key = (self.replication, SUBSYSTEMS.index(subsystem))
        return np.random.SeedSequence(self.seed, spawn_key=key)

    def generator(self, subsystem: Subsystem) -> np.random.Generator:
        """Return one subsystem's stream, at its start."""
        return np.random.Generator(np.random.PCG64DXSM(self.sequence(subsystem)))
