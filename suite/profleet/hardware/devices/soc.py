"""What surrounds an accelerator on a chip: moving tiles, copying them, and software.

After Xi et al., "SMAUG" (ACM TACO 17(4), 2020), and its code; symbols as used below:

    D_dma(b) = setup + lines(b) flush_s + b / dma_bandwidth   the cache is flushed or invalidated
                                                               line by line; the two overlap where
                                                               transfers are pipelined
    D_acp(b) = b / acp_bandwidth                               through the last-level cache
    T_copy   = per thread: bytes / memcpy_bandwidth + runs copy_call_s

A run is what a copy finds contiguous; cutting channels makes runs short. Tiles are shared out to
threads in contiguous parts of ceil(n / threads).
"""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil
from typing import Literal

from profleet.errors import HardwareError

Interface = Literal["dma", "acp"]


@dataclass(frozen=True)
class SoC:
    """The system around the engine. Defaults: the SoC that SMAUG's experiments use.

    That is an out-of-order CPU at 2.5 GHz with a 2 MB last-level cache of 32-byte lines, two
    16-bit channels of LPDDR4-3200 (12.8 GB/s), and a pipelined DMA whose setup takes 100 cycles
    of 1 ns. The cost of flushing a line comes from gem5-Aladdin's template. ``acp_bandwidth`` and
    what software costs (``memcpy_bandwidth`` to ``operator_s``) are not published; they are
    assumed, such that the accelerator's share and the speed-ups over its networks are what the
    paper states.

    Attributes:
        interface: how tiles travel: ``dma`` by software-managed copies from memory, ``acp``
            through the cache-coherent port.
        accelerators, threads: engines, and CPU threads that prepare and collect tiles.
        dma_bandwidth, acp_bandwidth: bytes/s.
        dma_setup_s: a transfer.
        line_bytes, flush_s: size of a cache line and the time to flush or invalidate it.
        pipelined: flushing overlaps with the transfer.
        memcpy_bandwidth: of one thread, bytes/s.
        copy_call_s: a contiguous run.
        invoke_s: starting the engine for one tile and noticing its end.
        operator_s: scheduling an operator and creating its tiles.
    """

    interface: Interface = "dma"
    accelerators: int = 1
    threads: int = 1
    dma_bandwidth: float = 12.8e9
    acp_bandwidth: float = 51.2e9
    dma_setup_s: float = 100e-9
    line_bytes: int = 32
    flush_s: float = 12e-9
    pipelined: bool = True
    memcpy_bandwidth: float = 3.0e9
    copy_call_s: float = 350e-9
    invoke_s: float = 9e-6
    operator_s: float = 1e-6

    def __post_init__(self) -> None:
        if self.interface not in {"dma", "acp"}:
            raise HardwareError(f"interface is '{self.interface}', not dma or acp.")
        positive = (
            "accelerators", "threads", "dma_bandwidth", "acp_bandwidth", "line_bytes",
            "memcpy_bandwidth",
        )  # fmt: skip
        for name in positive:
            if not getattr(self, name) > 0:
                raise HardwareError(
                    f"{name} of a SoC is {getattr(self, name)}; it must be above 0."
                )
        for name in ("dma_setup_s", "flush_s", "copy_call_s", "invoke_s", "operator_s"):
            if getattr(self, name) < 0:
                raise HardwareError(f"{name} of a SoC is {getattr(self, name)}, below 0.")

    @property
    def bandwidth(self) -> float:
        """Bytes per second of the interface in use, shared by all accelerators."""
        return self.dma_bandwidth if self.interface == "dma" else self.acp_bandwidth

    def transfer_s(self, size: float, times: int = 1) -> float:
        """Return the seconds of ``times`` transfers of ``size`` bytes each, one after another."""
        if not size:
            return 0.0
        moving = size / self.bandwidth
        if self.interface == "acp":
            return times * moving
        flushing = ceil(size / self.line_bytes) * self.flush_s
        both = max(moving, flushing) if self.pipelined else moving + flushing
        return times * (self.dma_setup_s + both)

    def copy_s(self, size: float, runs: int, tiles: int) -> float:
        """Return the seconds that software takes to copy ``size`` bytes into or out of tiles."""
        alone = size / self.memcpy_bandwidth + runs * self.copy_call_s
        return alone * ceil(tiles / self.threads) / tiles
