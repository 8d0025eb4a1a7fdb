"""An XMPP client on slixmpp: registers, logs in, asks for slots, exchanges messages."""

from __future__ import annotations

import asyncio
import dataclasses

import slixmpp

from servers import HOST, UPLOAD_JID, XMPP_DOMAIN

TIMEOUT = 20.0
"""Seconds for any one exchange with the XMPP server."""


@dataclasses.dataclass(frozen=True)
class Slot:
    """What the server handed out, untouched. `length` in bytes is what was asked for."""

    name: str
    length: int
    content_type: str
    put_url: str
    get_url: str
    headers: dict[str, str]


class Client(slixmpp.ClientXMPP):
    def __init__(self, user: str):
        super().__init__(
            f"{user}@{XMPP_DOMAIN}/tests",
            f"{user} password",
            # SCRAM over a stream without TLS: loopback only, see the note above the server configurations.
            plugin_config={"feature_mechanisms": {"unencrypted_scram": True}},
        )
        self.enable_direct_tls = False
        self.enable_starttls = False
        self.enable_plaintext = True
        self.inbox: asyncio.Queue[slixmpp.Message] = asyncio.Queue()
        for plugin in ("xep_0030", "xep_0066", "xep_0077", "xep_0363"):
            self.register_plugin(plugin)
        self.add_event_handler("register", self._register)
        self.add_event_handler("message", self.inbox.put_nowait)

    async def _register(self, _form: object) -> None:
        iq = self.Iq()
        iq["type"] = "set"
        iq["register"]["username"] = self.requested_jid.user
        iq["register"]["password"] = self.password
        await iq.send(timeout=TIMEOUT)

    async def log_in(self, port: int) -> None:
        """Registers the account and starts the session; raises TimeoutError or ConnectionError when refused."""
        started = asyncio.get_running_loop().create_future()

        def settle(error: str | None) -> None:
            if not started.done():
                started.set_exception(ConnectionError(error)) if error else started.set_result(None)

        self.add_event_handler("session_start", lambda _event: settle(None))
        self.add_event_handler("failed_all_auth", lambda event: settle(f"authentication refused: {event}"))
        self.connect(HOST, port)
        await asyncio.wait_for(started, TIMEOUT)
        self.send_presence()

    async def log_out(self) -> None:
        await asyncio.wait_for(self.disconnect(), TIMEOUT)

    async def slot(self, name: str, length: int, content_type: str = "application/octet-stream") -> Slot:
        """Raises slixmpp's IqError when the server refuses."""
        reply = await self.plugin["xep_0363"].request_slot(
            slixmpp.JID(UPLOAD_JID), name, length, content_type, timeout=TIMEOUT
        )
        offer = reply["http_upload_slot"]
        headers = {header["name"]: header["value"] for header in offer["put"]["headers"]}
        return Slot(name, length, content_type, offer["put"]["url"], offer["get"]["url"], headers)

    def send_file_link(self, to: str, url: str) -> None:
        """As XEP-0363 section 9 and common practice have it: the URL is the body and the out-of-band data."""
        message = self.make_message(mto=to, mbody=url, mtype="chat")
        message["oob"]["url"] = url
        message.send()
