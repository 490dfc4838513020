"""The Flower ServerApp: the stages in their order, each from its parent's checkpoint."""

from __future__ import annotations

import logging
from pathlib import Path

from flwr.app import Context
from flwr.serverapp import Grid, ServerApp

from fedrec.config import from_flat
from fedrec.monitoring.log_context import log_context
from fedrec.monitoring.logs import configure_logs
from fedrec.stages import STAGES
from server.environment import describe_environment
from server.federation import gather_federation
from server.floors import measure_floors
from server.polling import finely_polled
from server.run_folder import RunFolder
from server.stage_run import StageRunner

app = ServerApp()


@app.main()
def main(grid: Grid, context: Context) -> None:
    """Run a federation to its end. All settings come with the run-config."""
    configure_logs()
    logging.getLogger("flwr").setLevel(logging.WARNING)
    config = from_flat(dict(context.run_config))
    folder = RunFolder(Path(config.run.out))
    folder.begin(config)
    grid = finely_polled(grid)
    with log_context(run=Path(config.run.out).name), folder.status():
        folder.doing(f"waiting for {config.federation.nodes} nodes")
        federation = gather_federation(
            grid,
            nodes=config.federation.nodes,
            timeout_s=config.federation.registration_timeout_s,
            reply_timeout_s=config.federation.round_timeout_s,
        )
        runner = StageRunner(grid, config, federation, folder)
        for stage in STAGES.values():
            runner.run(stage)
        results = {"stages": runner.results, "environment": describe_environment(config)}
        folder.doing("measuring the baselines")
        floors = measure_floors(config, folder, federation.new_items)
        folder.write_results({**results, **floors})
