"""systemd units that start a server and a node, and let them do nothing else.

They expect the program in /opt/fedrec, the folder in /etc/fedrec and a user `fedrec`; what they
write is in /var/lib/fedrec. `systemd-analyze security` rates how little is left to them.
"""

from __future__ import annotations

_UNIT = """\
[Unit]
Description={description}
Documentation=https://www.freedesktop.org/software/systemd/man/latest/systemd.exec.html
Wants=network-online.target
After=network-online.target
StartLimitIntervalSec=0

[Service]
Type=exec
User=fedrec
Group=fedrec
Environment=FEDREC=/opt/fedrec/bin/fedrec
Environment=FLWR_TELEMETRY_ENABLED=0
EnvironmentFile=-/etc/fedrec/{name}.env
ExecStart=/etc/fedrec/{name}/start.sh
WorkingDirectory=/var/lib/fedrec
StateDirectory=fedrec
StateDirectoryMode=0700
UMask=0077
{restart}
RestartSec=15
# The program is asked, and ends what it has started; what is left after that is killed.
KillSignal=SIGINT
KillMode=mixed
SuccessExitStatus=130
TimeoutStopSec=60
SyslogIdentifier=fedrec-{role}

# It reads its folder and the system, and writes its state and a /tmp of its own.
ProtectSystem=strict
ProtectHome=yes
PrivateTmp=yes
ReadOnlyPaths=/etc/fedrec/{name}
# A GPU needs its devices: leave this line out where there is one.
PrivateDevices=yes
ProtectKernelTunables=yes
ProtectKernelModules=yes
ProtectKernelLogs=yes
ProtectControlGroups=yes
ProtectClock=yes
ProtectHostname=yes
ProtectProc=invisible
ProcSubset=all

# No rights beyond those of its user. MemoryDenyWriteExecute is not set: torch generates code.
NoNewPrivileges=yes
CapabilityBoundingSet=
AmbientCapabilities=
PrivateUsers=yes
RemoveIPC=yes
KeyringMode=private
LockPersonality=yes
RestrictNamespaces=yes
RestrictRealtime=yes
RestrictSUIDSGID=yes
RestrictAddressFamilies=AF_INET AF_INET6 AF_UNIX
SystemCallArchitectures=native
SystemCallFilter=@system-service
SystemCallFilter=~@privileged
SystemCallErrorNumber=EPERM
LimitCORE=0

[Install]
WantedBy=multi-user.target
"""

_SERVER_RESTART = """\
Restart=on-failure
# A mistake that the message names does not go away by trying again.
RestartPreventExitStatus=2"""

_CLIENT_RESTART = """\
# A server that is away comes back, and so does its node.
Restart=always"""


def server_unit() -> str:
    """fedrec-server.service: started again after a failure, not after the run's end."""
    return _UNIT.format(
        description="fedrec server", name="server", role="server", restart=_SERVER_RESTART
    )


def client_unit(name: str) -> str:
    """fedrec-client.service of the node `name`: joins again whenever its server was gone."""
    return _UNIT.format(
        description=f"fedrec client {name}", name=name, role="client", restart=_CLIENT_RESTART
    )
