"""What a container may do: from settings to the arguments of the engine, and what was loosened.

Hermetic is the default: no network, nothing to write but two bounded file systems in memory, no
privileges to gain, bounded memory and processes. Every departure is a setting, and is recorded.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from profleet.container import layout

if TYPE_CHECKING:
    from profleet.execute.settings import DockerSettings
    from profleet.manifest.documents import Container

MIB: Final = 2**20
MEMORY_SHARE: Final = 0.8
"""Of the engine's memory, where ``memory_mb`` is ``auto``."""
RESULT_FILES: Final = 4096
ARTIFACTS: Final = "/artifact"
"""Where the read-only volume with the artifact is."""


@dataclass(frozen=True)
class Confinement:
    """Limits and freedoms of one container, settled: what the profile records.

    ``loosened`` names every setting that departs from the hermetic default. Sizes are bytes;
    None means no limit (``shm_bytes``: the engine's own).
    """

    network: str
    read_only: bool
    user: str
    capabilities: tuple[str, ...]
    seccomp: str
    pids: int | None
    memory_bytes: int | None
    cpus: str
    numa_nodes: str | None
    tmp_bytes: int
    shm_bytes: int | None
    results_bytes: int
    gpus: tuple[str, ...]
    devices: tuple[str, ...]
    loosened: tuple[str, ...]


def confine(
    settings: DockerSettings,
    container: Container,
    *,
    cpus: Sequence[int] | None,
    engine_cpus: int,
    engine_memory_bytes: int,
    swap_limit: bool = True,
) -> Confinement:
    """Settle what a container may do.

    Args:
        settings: of the executor.
        container: what the framework's manifest needs.
        cpus: processors that the job is pinned to; None: all of the engine's.
        engine_cpus: how many the engine has.
        engine_memory_bytes: how much memory it has.
        swap_limit: whether it can keep a container from swapping.
    """
    memory = settings.memory_mb
    limit = (
        int(engine_memory_bytes * MEMORY_SHARE) // MIB * MIB
        if memory == "auto"
        else memory and memory * MIB
    )
    wanted = sorted(set(range(engine_cpus) if cpus is None else cpus))
    shm = container.shm_size_mb
    return Confinement(
        network=settings.network,
        read_only=not settings.writable_root,
        user=settings.user or layout.USER,
        capabilities=settings.cap_add,
        seccomp=settings.seccomp,
        pids=settings.pids,
        memory_bytes=limit,
        cpus=",".join(map(str, wanted)),
        numa_nodes=settings.numa_nodes,
        tmp_bytes=settings.tmp_mb * MIB,
        shm_bytes=None if shm is None else shm * MIB,
        results_bytes=settings.results_mb * MIB,
        gpus=(container.gpus,) if isinstance(container.gpus, str) else container.gpus or (),
        devices=container.devices,
        loosened=tuple(_loosened(settings, swap_limit=swap_limit)),
    )


def _loosened(settings: DockerSettings, *, swap_limit: bool) -> list[str]:
    user = (settings.user or layout.USER).partition(":")[0]
    departures = {
        f"network={settings.network}": settings.network != "none",
        "writable_root=true": settings.writable_root,
        f"user={settings.user}": user == "root" or (user.isdecimal() and int(user) == 0),
        f"cap_add={','.join(settings.cap_add)}": bool(settings.cap_add),
        "seccomp=unconfined": settings.seccomp != "default",
        "pids=null": settings.pids is None,
        "memory_mb=null": settings.memory_mb is None,
        "swap (the engine cannot exclude it)": settings.memory_mb is not None and not swap_limit,
    }
    return [name for name, departs in departures.items() if departs]


def create_arguments(
    confinement: Confinement, *, label: Mapping[str, str], extra_results_bytes: int = 0
) -> dict[str, Any]:
    """Return the keyword arguments of the SDK's ``create_host_config``, without weights.

    The job's folder is an anonymous volume in memory, so its size and its number of files are
    bounded by the kernel, on every engine. ``/tmp`` may hold programs: compilers of frameworks
    load there what they built.

    Args:
        confinement: what the container may do.
        label: labels of the volume.
        extra_results_bytes: room in the job's folder for what goes in.
    """
    from docker.types import DeviceRequest, DriverConfig, LogConfig, Mount, Ulimit

    memory = confinement.memory_bytes
    size = confinement.results_bytes + extra_results_bytes
    largest = max(size, confinement.tmp_bytes)
    security = ["no-new-privileges:true"]
    if confinement.seccomp != "default":
        security.append(f"seccomp={confinement.seccomp}")
    options = f"size={size},nr_inodes={RESULT_FILES},mode=1777,nosuid,nodev"
    requests = []
    if confinement.gpus:
        every = confinement.gpus == ("all",)
        chosen = {"count": -1} if every else {"device_ids": list(confinement.gpus)}
        requests.append(DeviceRequest(capabilities=[["gpu"]], **chosen))
    if confinement.devices:
        requests.append(DeviceRequest(driver="cdi", device_ids=list(confinement.devices)))
    return {
        "network_mode": confinement.network,
        "read_only": confinement.read_only,
        "cap_drop": ["ALL"],
        "cap_add": list(confinement.capabilities),
        "security_opt": security,
        "pids_limit": confinement.pids,
        "mem_limit": memory,
        "memswap_limit": memory,
        "cpuset_cpus": confinement.cpus,
        "cpuset_mems": confinement.numa_nodes,
        "shm_size": confinement.shm_bytes,
        "tmpfs": {"/tmp": f"size={confinement.tmp_bytes},mode=1777,exec,nosuid,nodev"},  # noqa: S108 -- inside the container
        "log_config": LogConfig(type="none"),  # output is read as it comes and bounded there
        "ulimits": [
            Ulimit(name="fsize", soft=largest, hard=largest),
            Ulimit(name="core", soft=0, hard=0),
        ],
        "device_requests": requests or None,
        "mounts": [
            Mount(
                target=layout.OUT,
                source=None,
                type="volume",
                labels=dict(label),
                driver_config=DriverConfig(
                    "local", {"type": "tmpfs", "device": "tmpfs", "o": options}
                ),
            )
        ],
    }
