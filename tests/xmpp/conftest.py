"""One site for each XMPP server: Plimsoll, the server in front of it, and two users logged in."""

from __future__ import annotations

import contextlib
import dataclasses
import pathlib
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from servers import FLAVOURS, Plimsoll, await_plimsoll, free_port, plimsoll_process
from xmpp import Client


@dataclasses.dataclass(frozen=True)
class Site:
    flavour: str
    plimsoll: Plimsoll
    folder: pathlib.Path
    """Plimsoll's working folder: its store and the log of its process, nothing else."""
    romeo: Client
    juliet: Client

    @property
    def allows_empty_files(self) -> bool:
        """ejabberd takes a size of 0 for a malformed request."""
        return self.flavour != "ejabberd"

    @property
    def replaces_characters(self) -> bool:
        """ejabberd writes `_` for all but letters, digits, `_`, `.` and `-`; Prosody refuses a slash instead."""
        return self.flavour == "ejabberd"


@pytest_asyncio.fixture(scope="session", params=FLAVOURS)
async def site(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Site]:
    flavour: str = request.param
    folder = tmp_path_factory.mktemp("plimsoll")
    async with contextlib.AsyncExitStack() as stack:
        process = stack.enter_context(plimsoll_process(folder))
        plimsoll = await_plimsoll(process, folder)

        port = free_port()
        server = stack.enter_context(FLAVOURS[flavour](tmp_path_factory.mktemp(flavour), port, plimsoll.base_url))
        server.wait_for_port(port)

        clients = []
        for user in ("romeo", "juliet"):
            client = Client(user)
            try:
                await client.log_in(port)
            except Exception as error:
                raise RuntimeError(f"{user} cannot log in to {flavour}:\n{server.output()}") from error
            stack.push_async_callback(client.log_out)
            clients.append(client)
        yield Site(flavour, plimsoll, folder, *clients)
