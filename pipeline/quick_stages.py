"""The stages that need neither Ray nor torch. Each is the only one of its request."""

import json

from pipeline.config.compose import Request
from pipeline.config.root import Config


def run_quick_stage(config: Config, request: Request) -> None:
    """Run the one stage of a request.

    Args:
        config: with the stage `protocols` or `compare`, and no other.
        request: the command line.

    Raises:
        ConfigError: the request is wrong. Nothing was started.
        UserError: the stage cannot go on.
    """
    if config.stages == ["protocols"]:
        # It only counts clip names, and needs no output directory.
        from pipeline.ingest.protocol_counts import count_protocols

        print(json.dumps(count_protocols(config.data)))
        return
    # This imports MLflow, which takes a second.
    from pipeline.compare.stage import compare

    compare(config, request)
