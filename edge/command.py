"""``clickstage edge``: collect events over HTTP and hand out decisions, until stopped."""

import argparse
import errno
import logging
import os
import resource
import socket
import tempfile
from collections.abc import Sequence
from shutil import rmtree
from typing import Any, Final

from granian import Granian
from granian.constants import HTTPModes, Interfaces, Loops
from granian.http import HTTP1Settings

from decisions.settings import PREFIX, add_options, unknown_variables
from edge.settings import ELSEWHERE, METRICS_DIRECTORY, EdgeSettings
from edge.shops import new_secret
from featurestore import logs
from featurestore.errors import PortTaken, Unsafe

log = logging.getLogger(__name__)

HEADER_BYTES: Final = 16_384
"""Of all headers of a request; more is 431. Half of it is the least that the server takes."""
HEADER_MS: Final = 10_000
"""A request's headers must arrive within this, so that half-open requests hold a connection for no longer."""
SPARE: Final = 2_000
"""Requests that may be open beside the streams of a process."""
OWN_FILES: Final = 256
"""Open files that a process needs for itself: Kafka, Redis, the spool, the bundle."""


def main(argv: Sequence[str]) -> int:
    """Run until SIGTERM or SIGINT."""
    parser = argparse.ArgumentParser(prog="clickstage edge", description=__doc__)
    group = parser.add_argument_group("settings", f"each is also an environment variable {PREFIX}NAME")
    add_options(group, EdgeSettings)
    flags = {name: value for name, value in vars(parser.parse_args(argv)).items() if value is not None}
    for line in unknown_variables(os.environ, EdgeSettings, ELSEWHERE):
        log.warning(line)
    settings = EdgeSettings.load(flags, os.environ)
    logs.configure(settings.log_format)
    return run(settings, flags)


def run(settings: EdgeSettings, flags: dict[str, str]) -> int:
    """Check what can be checked, then serve.

    Raises:
        SettingsError, BundleError, PolicyError: something that the processes would only find out one by one.
    """
    metrics = tempfile.mkdtemp(prefix="clickstage-edge-")
    # The Prometheus client looks for the directory as it is imported. One process keeps its figures in memory.
    os.environ.pop(METRICS_DIRECTORY, None)
    if settings.edge_processes > 1:
        os.environ[METRICS_DIRECTORY] = metrics
    from decisions.engine import check_outcomes
    from decisions.shipped import load_bundle, load_policy
    from edge.service import shops_of, spool_of

    secret = settings.edge_secret.get_secret_value() or new_secret()
    settings = settings.model_copy(update={"edge_secret": type(settings.edge_secret)(secret)})
    shops = shops_of(settings)
    bundle = load_bundle(settings.bundle)
    load_policy(settings.policy, bundle.heads.variables)
    check_outcomes(bundle, settings.outcomes)
    spool_of(settings)
    _free(settings)
    os.environ |= {PREFIX + name.upper(): str(value) for name, value in flags.items()}
    os.environ[PREFIX + "EDGE_SECRET"] = secret
    try:
        log.info(
            "edge listens on %s port %d",
            settings.edge_host,
            settings.edge_port,
            extra={"processes": settings.edge_processes, "shops": len({shop.name for shop in shops.by_key.values()})},
        )
        server(settings).serve()
    finally:
        rmtree(metrics, ignore_errors=True)
    return 0


def server(settings: EdgeSettings) -> Any:
    """Granian over the application; each process builds it anew."""
    return Granian(
        "edge.app:application",
        factory=True,
        interface=Interfaces.ASGI,
        address=settings.edge_host,
        port=settings.edge_port,
        workers=settings.edge_processes,
        loop=Loops.uvloop,
        # Browsers speak HTTP/2 over TLS alone; to be ready for it costs each connection 12 KB (decision 0024).
        http=HTTPModes.auto if settings.edge_tls_cert else HTTPModes.http1,
        websockets=False,
        backlog=2_048,
        backpressure=connections_most(settings),
        http1_settings=HTTP1Settings(header_read_timeout=HEADER_MS, max_buffer_size=HEADER_BYTES),
        ssl_cert=settings.edge_tls_cert,
        ssl_key=settings.edge_tls_key,
        log_enabled=False,
        respawn_failed_workers=True,
        workers_kill_timeout=10,
    )


def connections_most(settings: EdgeSettings) -> int:
    """Connections that a process may hold: what the settings ask for, as far as its open files reach.

    The limit of open files is raised as far as the system allows. Connections beyond wait to be accepted, so that
    clients never take the files of Kafka and Redis.

    Raises:
        Unsafe: the limit leaves no room for clients.
    """
    wanted = settings.edge_streams_most + SPARE
    files, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    needed = wanted + OWN_FILES
    if files != resource.RLIM_INFINITY and files < needed:
        files = needed if most == resource.RLIM_INFINITY else min(most, needed)
        resource.setrlimit(resource.RLIMIT_NOFILE, (files, most))
    if files == resource.RLIM_INFINITY or files >= needed:
        return wanted
    if files < 2 * OWN_FILES:
        raise Unsafe(f"the edge may open {files} files and needs {2 * OWN_FILES}: raise the limit (ulimit -n)")
    log.warning("the limit of %d open files allows %d connections a process", files, files - OWN_FILES)
    return files - OWN_FILES


def _free(settings: EdgeSettings) -> None:
    """Find out now whether the port can be had: the server's processes would fail one by one, and without a word.

    Raises:
        PortTaken: somebody listens there.
        Unsafe: it cannot be had for another reason.
    """
    family = socket.AF_INET6 if ":" in settings.edge_host else socket.AF_INET
    with socket.socket(family) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((settings.edge_host, settings.edge_port))
        except OSError as error:
            refusal = PortTaken if error.errno == errno.EADDRINUSE else Unsafe
            raise refusal(
                f"port {settings.edge_port} of {settings.edge_host} cannot be had ({error.strerror}): stop what "
                "listens there, or choose another with CLICKSTAGE_EDGE_PORT"
            ) from None
