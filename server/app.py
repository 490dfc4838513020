"""The Flower ServerApp: the stages in their order, each from its parent's checkpoint."""

from __future__ import annotations

import logging
from pathlib import Path

from flwr.app import Context
from flwr.serverapp import Grid, ServerApp

from fedrec.config import from_flat
from fedrec.monitoring.log_context import log_context
from fedrec.monitoring.logs import configure_logs
from fedrec.processes.garbage import spare_what_is_there
from fedrec.stages import STAGES
from server.attendance import Attendance
from server.environment import describe_environment
from server.federation import gather_federation
from server.floors import measure_floors
from server.joining import check_joining
from server.packed import packed_grid
from server.patient_grid import PatientGrid
from server.prompt import prompt_grid
from server.run_folder import RunFolder
from server.stage_run import StageRunner
from server.true_replies import expect_true_replies

app = ServerApp()


@app.main()
def main(grid: Grid, context: Context) -> None:
    """Run a federation to its end. All settings come with the run-config."""
    configure_logs()
    logging.getLogger("flwr").setLevel(logging.WARNING)
    config = from_flat(dict(context.run_config))
    folder = RunFolder(Path(config.run.out))
    folder.begin(config)
    expect_true_replies(grid)
    grid = prompt_grid(packed_grid(grid))
    nodes, patient = config.federation, PatientGrid(grid, config.federation)
    with log_context(run=Path(config.run.out).name), folder.status():
        folder.doing(f"waiting for {nodes.nodes} nodes")
        federation = gather_federation(
            patient,
            nodes=nodes.nodes,
            timeout_s=nodes.registration_timeout_s,
            reply_timeout_s=nodes.round_timeout_s,
            enough=nodes.fewest_nodes if config.run.resume else 0,
        )
        check_joining(federation.nodes, config)
        attendance = Attendance(
            federation,
            patient,
            patience_s=nodes.absence_timeout_s,
            check=lambda info: check_joining([info], config),
        )
        spare_what_is_there()
        runner = StageRunner(patient, config, attendance, folder)
        for stage in STAGES.values():
            runner.run(stage)
        results = {**runner.outcome(), "environment": describe_environment(config)}
        folder.doing("measuring the baselines")
        floors = measure_floors(config, folder, federation.new_items)
        folder.write_results({**results, **floors})
