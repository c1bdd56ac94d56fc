"""Ports to serve pages at."""

import socket


def check_port(host: str, port: int | None) -> None:
    """Raise ValueError if a port that was asked for cannot be served at."""
    if port is None:
        return
    if not 0 < port < 65536:
        raise ValueError(f"--port {port}; accepted are 1 to 65535")
    with socket.socket() as probe:
        # what a server that has just ended leaves behind does not count
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            raise ValueError(
                f"{host}:{port} cannot be served at ({error.strerror or error}); give another --port, or none for the "
                "next free one"
            ) from error
