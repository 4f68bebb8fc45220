"""Which tests come first, and which share an xdist worker."""

from pathlib import PurePosixPath

# What waits longest comes first, what computes fills the gaps.
LANES = ("e2e", "ray", "unit")
# Files that start processes with a Ray of their own, in two chains: a chain runs in one worker, so
# that no more than two such Rays share the cores. The other workers begin with the next lanes.
CHAINS = (
    ("test_main_job", "test_mlflow_page", "test_walkthrough", "test_remote"),
    ("test_jobs", "test_resume", "test_same_results", "test_table"),
)


def order_of(nodeid: str) -> tuple[int, int, int]:
    """Where a test stands: its lane, the chain in the lane, its place in the chain."""
    path = PurePosixPath(nodeid.split("::")[0])
    lane = len(LANES)
    for number, name in enumerate(LANES):
        if name in path.parts:
            lane = number
    for number, chain in enumerate(CHAINS):
        if path.stem in chain:
            return lane, number, chain.index(path.stem)
    return lane, len(CHAINS), 0


def group_of(nodeid: str) -> str:
    """What a test shares a worker with: its chain, else its file, whose fixtures it shares."""
    _, chain, _ = order_of(nodeid)
    if chain < len(CHAINS):
        return f"chain {chain}"
    return nodeid.split("::")[0]
