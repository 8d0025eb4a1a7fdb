"""slixmpp's own upload, unmodified, and a link that reaches somebody else."""

from __future__ import annotations

import asyncio
import pathlib

import aiohttp
import pytest
import slixmpp

from conftest import Site
from servers import UPLOAD_JID, XMPP_DOMAIN
from wire import MIB, content, sha256
from xmpp import TIMEOUT


async def upload(site: Site, path: pathlib.Path) -> str:
    """Discovery, slot and PUT as the library does them; the GET URL."""
    url = await site.romeo.plugin["xep_0363"].upload_file(path, domain=slixmpp.JID(XMPP_DOMAIN), timeout=TIMEOUT)
    assert url.startswith(site.plimsoll.base_url + "/")
    return url


async def download(url: str) -> bytes:
    async with aiohttp.ClientSession() as session, session.get(url) as reply:
        assert reply.status == 200, await reply.text()
        return await reply.read()


async def test_slixmpp_discovers_the_service_and_its_limit(site: Site) -> None:
    info = await site.romeo.plugin["xep_0363"].find_upload_service(slixmpp.JID(XMPP_DOMAIN), timeout=TIMEOUT)
    assert info is not None
    assert str(info["from"]) == UPLOAD_JID
    assert "urn:xmpp:http:upload:0" in info["disco_info"]["features"]


@pytest.mark.parametrize(
    ("name", "length"),
    [("photo.jpg", 1), ("Grüße aus Köln & more (1).txt", 4096), ("😀 a..b+c.tar.gz", 5 * MIB), ("ü" * 98 + ".md", 17)],
    ids=["plain", "umlauts and reserved", "emoji", "long"],
)
async def test_slixmpp_uploads_a_file_unmodified(site: Site, tmp_path: pathlib.Path, name: str, length: int) -> None:
    body = content(length)
    path = tmp_path / name
    path.write_bytes(body)
    assert sha256(await download(await upload(site, path))) == sha256(body)


async def test_a_link_sent_to_another_user_leads_to_the_same_bytes(site: Site, tmp_path: pathlib.Path) -> None:
    body = content(MIB)
    path = tmp_path / "letter to juliet.bin"
    path.write_bytes(body)
    url = await upload(site, path)

    site.romeo.send_file_link(site.juliet.boundjid.bare, url)
    message = await asyncio.wait_for(site.juliet.inbox.get(), TIMEOUT)
    assert message["from"].bare == site.romeo.boundjid.bare
    assert message["body"] == message["oob"]["url"] == url
    assert sha256(await download(message["oob"]["url"])) == sha256(body)
