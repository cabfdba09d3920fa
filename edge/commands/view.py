"""edge-run view: look at results in the browser."""

from __future__ import annotations

from pathlib import Path

import click

from edge.arguments import PathArgument
from edge.errors import error_handler, require_extra
from edge.server.address import Address, AddressArgument
from edge.terminal import Terminal


@click.command()
@click.argument("folder", type=PathArgument(exists=True, file_okay=False))
@click.option(
    "--serve",
    "address",
    type=AddressArgument(),
    metavar="[HOST:]PORT",
    default="8080",
    show_default=True,
    help="Where. Elsewhere than on 127.0.0.1 viewers need a token: that of the environment "
    "variable EDGE_RUN_TOKEN, or one that is made and shown.",
)
def view(folder: Path, address: Address) -> None:
    """Show the results in an --out folder as a page, also of a run that goes on or broke off.

    \b
    edge-run view results/

    Ctrl-C ends it.
    """
    with error_handler():
        with require_extra("live"):
            from edge.server.folder import Folder
            from edge.server.folder_app import folder_app
            from edge.server.server import Server, wait_for_interrupt
        app = folder_app(Folder(folder))
        server = Server(address)
        with server.serve(app):
            server.announce(Terminal())
            wait_for_interrupt()
