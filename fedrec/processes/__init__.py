"""Starting other programs so that every one of them is found and stopped again."""

from fedrec.processes.environment import flower_environment, flower_program
from fedrec.processes.identity import ProcessIdentity, is_alive, this_process
from fedrec.processes.log_text import last_lines, without_colours
from fedrec.processes.ports import free_port, is_healthy, is_loopback, require_free_port
from fedrec.processes.scope import Processes, process_scope
from fedrec.processes.signals import stopped_by_exception

__all__ = [
    "ProcessIdentity",
    "Processes",
    "flower_environment",
    "flower_program",
    "free_port",
    "is_alive",
    "is_healthy",
    "is_loopback",
    "last_lines",
    "process_scope",
    "require_free_port",
    "stopped_by_exception",
    "this_process",
    "without_colours",
]
