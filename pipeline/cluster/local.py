"""What this machine has for a Ray that is started on it for a run, known without starting it."""

import os

from pipeline.cluster.placement import shortage
from pipeline.config.cluster import Cluster
from pipeline.core.errors import ConfigError

# More GPUs than a machine has.
MANY = 1e6


def require_local_room(cluster: Cluster) -> None:
    """Check that this machine has the processors and the memory that a run asks for.

    Ray finds out about GPUs.

    Args:
        cluster: the resources that the run needs.

    Raises:
        ConfigError: it does not have them.
    """
    here = {"CPU": float(os.cpu_count() or 1), "GPU": MANY}
    problem = shortage(cluster, [here])
    if problem:
        raise ConfigError(f"cluster.workers={cluster.workers}: {problem}")
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9
    if cluster.object_store_gb is not None and cluster.object_store_gb > memory:
        raise ConfigError(
            f"cluster.object_store_gb={cluster.object_store_gb:g}: this machine has "
            f"{memory:.0f} GB of memory; null takes what Ray thinks right"
        )
