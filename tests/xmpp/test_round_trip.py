"""What goes up through a slot comes down byte for byte, whatever its size and name."""

from __future__ import annotations

import pytest
import slixmpp.exceptions

from conftest import Site
from wire import KIB, MIB, assert_comes_down, assert_stored, connect, content, get, head, put, send, sha256

NAMES = {
    "spaces": "two words  and more.txt",
    "umlauts": "Grüße aus Köln.txt",
    "combining": "Cafe\u0301.txt",
    "emoji": "😀 🚢.png",
    "200 characters": "x" * 196 + ".bin",
    "200 umlauts": "ü" * 196 + ".bin",
    "dots within": "a..b...c.txt",
    "leading dots": "..hidden",
    "reserved in URLs": "a+b&c=d?e#f;g:h@i,j!k'(l)*$[m].txt",
    "percent": "100%25 %2F done%.txt",
    "markup": "<b onclick=x>bold.html",
}


@pytest.mark.parametrize("length", [1, 4 * KIB, 5 * MIB, 100 * MIB])
async def test_a_file_comes_down_as_it_went_up(site: Site, length: int) -> None:
    body = content(length)
    slot = await site.romeo.slot("cargo.bin", length)
    assert_stored(await put(slot, body))
    await assert_comes_down(slot.get_url, body)


async def test_an_empty_file_makes_the_trip_unless_the_xmpp_server_forbids_it(site: Site) -> None:
    if not site.allows_empty_files:
        with pytest.raises(slixmpp.exceptions.IqError) as refusal:
            await site.romeo.slot("empty.bin", 0)
        assert refusal.value.condition == "bad-request"
        return
    slot = await site.romeo.slot("empty.bin", 0)
    assert (await get(slot.get_url)).status == 404
    assert_stored(await put(slot, b""))
    await assert_comes_down(slot.get_url, b"")
    assert (await put(slot, b"")).status == 409


@pytest.mark.parametrize("name", NAMES.values(), ids=NAMES.keys())
async def test_any_name_that_the_xmpp_server_mints_is_served(site: Site, name: str) -> None:
    body = f"under the name {name}".encode()
    slot = await site.romeo.slot(name, len(body), "text/plain; charset=utf-8")
    assert_stored(await put(slot, body))
    await assert_comes_down(slot.get_url, body)


@pytest.mark.parametrize("name", ["../stowaway", "../../../../tmp/stowaway", "/etc/stowaway"])
async def test_a_name_shaped_like_a_path_gets_no_further_than_its_slot(site: Site, name: str) -> None:
    if not site.replaces_characters:
        with pytest.raises(slixmpp.exceptions.IqError) as refusal:
            await site.romeo.slot(name, 8)
        assert refusal.value.condition == "bad-request"
        return
    slot = await site.romeo.slot(name, 8)
    assert_stored(await put(slot, b"stowaway"))
    await assert_comes_down(slot.get_url, b"stowaway")


async def test_a_slot_whose_name_is_two_dots_leaves_its_neighbours_alone(site: Site) -> None:
    """All four set-ups do mint `KEY/..`; a client that keeps the dots must not reach what a parent folder would be."""
    neighbour = await site.romeo.slot("neighbour.bin", 9)
    assert_stored(await put(neighbour, b"neighbour"))
    slot = await site.romeo.slot("..", 4)
    assert slot.get_url.endswith("/..")
    reply = await put(slot, b"dots")
    if reply.status == 201:
        await assert_comes_down(slot.get_url, b"dots")
    else:
        assert reply.status in (400, 403, 404), reply
    await assert_comes_down(neighbour.get_url, b"neighbour")


async def test_nothing_of_a_name_becomes_a_path_in_storage(site: Site) -> None:
    for name in ("..stowaway", "stowaway..", "stow away", "stowaway.html"):
        slot = await site.romeo.slot(name, 8)
        assert_stored(await put(slot, b"stowaway"))
    stored = [str(path.relative_to(site.folder)) for path in site.folder.rglob("*")]
    assert stored
    assert [path for path in stored if "stow" in path or "away" in path] == []
    assert {path.name for path in site.folder.iterdir()} == {"store", "plimsoll.out"}


async def test_three_uploads_share_one_kept_alive_connection(site: Site) -> None:
    bodies = [content(64 * KIB), content(1), content(MIB)]
    slots = [await site.romeo.slot(f"crate {n}.bin", len(body)) for n, body in enumerate(bodies)]
    line = connect(slots[0].put_url)
    try:
        line.connect()
        assert line.sock is not None
        local_address = line.sock.getsockname()
        for slot, body in zip(slots, bodies, strict=True):
            assert_stored(await put(slot, body, line))
            assert line.sock is not None, "the server closed the connection after an upload"
            assert line.sock.getsockname() == local_address
    finally:
        line.close()
    for slot, body in zip(slots, bodies, strict=True):
        await assert_comes_down(slot.get_url, body)


async def test_a_put_without_content_type_is_stored(site: Site) -> None:
    """Movim sends none; the servers then sign `application/octet-stream`, which is what slixmpp asked for here."""
    slot = await site.romeo.slot("untyped.bin", 7)
    assert_stored(await send("PUT", slot.put_url, slot.headers, b"untyped"))
    await assert_comes_down(slot.get_url, b"untyped")


async def test_a_download_is_announced_by_head_and_resumed_by_range(site: Site) -> None:
    """What Conversations does: HEAD for the length, then GET from where it stopped."""
    body = content(MIB)
    slot = await site.romeo.slot("photo.jpg", len(body), "image/jpeg")
    assert_stored(await put(slot, body))
    announced = await head(slot.get_url)
    assert (announced.status, announced.headers["Content-Length"], announced.body) == (200, str(MIB), b"")
    rest = await get(slot.get_url, {"Range": f"bytes={MIB // 3}-"})
    assert rest.status == 206, rest
    assert rest.headers["Content-Range"] == f"bytes {MIB // 3}-{MIB - 1}/{MIB}"
    assert sha256(rest.body) == sha256(body[MIB // 3 :])
