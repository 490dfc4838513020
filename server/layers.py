"""Which of a SuperLink's layers a request passes: those that may have something to do for it.

Flower puts every request through nine layers, each of which starts tasks of its own, and most of
which let all pass that is not theirs. With many nodes that is most of what a SuperLink does.
"""

from __future__ import annotations

from collections.abc import Sequence

from fastapi import FastAPI
from flwr.supercore.routers.runtime.tracing import RuntimeTracingMiddleware
from flwr.superlink.routers.control import middlewares as control
from flwr.superlink.routers.fleet.middlewares import FleetEventLogMiddleware
from flwr.superlink.routers.fleet.node_auth import NodeAuthMiddleware

from server.whole_body import App, Receive, Scope, Send

_CONTROL: tuple[object, ...] = (
    control.ControlSensitiveResponseMiddleware,
    control.ControlAuthenticationMiddleware,
    control.ControlLicenseMiddleware,
    control.ControlEventLogMiddleware,
)
IDLE: dict[str, tuple[object, ...]] = {
    "/v1/fleet/": (*_CONTROL, RuntimeTracingMiddleware),
    "/v1/runtime/": (*_CONTROL, NodeAuthMiddleware, FleetEventLogMiddleware),
}
"""Beginning of a path -> the layers that let all such requests pass."""


def by_path(app: FastAPI) -> App:
    """The application, whose requests do not pass the layers that are idle for their path."""
    shorter = {start: _without(app, idle) for start, idle in IDLE.items()}

    async def call(scope: Scope, receive: Receive, send: Send) -> None:
        path = scope["path"] if scope["type"] == "http" else ""
        chosen = next((few for start, few in shorter.items() if path.startswith(start)), app)
        scope["app"] = app  # as the application itself notes it
        await chosen(scope, receive, send)

    return call


def _without(app: FastAPI, idle: Sequence[object]) -> App:
    every = app.user_middleware
    app.user_middleware = [layer for layer in every if layer.cls not in idle]
    try:
        return app.build_middleware_stack()
    finally:
        app.user_middleware = every
