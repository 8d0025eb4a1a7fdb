"""A slot's credential opens this slot, for a file of this size, once."""

from __future__ import annotations

import dataclasses

import pytest

from conftest import Site
from servers import SECRET
from wire import KIB, assert_comes_down, assert_stored, content, get, put, put_headers, send
from xmpp import Slot


def credential(slot: Slot) -> str:
    """The secret part of a slot: its JWT, or the hex of its `?v=` or `?v2=`."""
    if "Authorization" in slot.headers:
        return slot.headers["Authorization"].removeprefix("Bearer ")
    return slot.put_url.rpartition("=")[2]


def with_path_of(slot: Slot, path: str) -> Slot:
    """`slot` with its credential kept and the path of its PUT URL replaced by that of `path`."""
    query = slot.put_url.partition("?")[2]
    return dataclasses.replace(slot, put_url=f"{path}?{query}" if query else path)


def flipped(text: str) -> str:
    """`text` with one character in its middle exchanged, so that lengths and trailing padding bits stay."""
    middle = len(text) // 2
    return text[:middle] + ("0" if text[middle] != "0" else "1") + text[middle + 1 :]


async def assert_still_open(slot: Slot, body: bytes) -> None:
    """A refusal left nothing behind, and the slot's owner can use it."""
    assert (await get(slot.get_url)).status == 404
    assert_stored(await put(slot, body))
    await assert_comes_down(slot.get_url, body)


@pytest.mark.parametrize("difference", [-1, 1, 4096])
async def test_a_file_of_another_size_is_refused(site: Site, difference: int) -> None:
    body = content(4 * KIB)
    slot = await site.romeo.slot("scales.bin", len(body))
    reply = await put(slot, content(len(body) + difference))
    assert reply.status == 403, reply
    await assert_still_open(slot, body)


async def test_a_path_with_another_key_is_refused(site: Site) -> None:
    slot = await site.romeo.slot("key.bin", 3)
    base, key, name = slot.get_url.rsplit("/", 2)
    reply = await put(with_path_of(slot, f"{base}/{flipped(key)}/{name}"), b"key")
    assert reply.status == 403, reply
    await assert_still_open(slot, b"key")


async def test_a_path_with_another_file_name_is_refused(site: Site) -> None:
    slot = await site.romeo.slot("harmless.txt", 4)
    for other in ("harmless.txt.html", "harmless.html", "", "harmless.txt/more"):
        elsewhere = slot.get_url.rpartition("/")[0] + "/" + other
        reply = await put(with_path_of(slot, elsewhere), b"name")
        assert reply.status == 403, (other, reply)
        assert (await get(elsewhere)).status == 404
    await assert_still_open(slot, b"name")


async def test_the_credential_of_one_slot_does_not_open_another(site: Site) -> None:
    mine = await site.romeo.slot("same.bin", 4)
    other = await site.juliet.slot("same.bin", 4)
    crossed = dataclasses.replace(with_path_of(mine, other.get_url), headers=mine.headers)
    reply = await put(crossed, b"mine")
    assert reply.status == 403, reply
    await assert_still_open(other, b"hers")
    await assert_still_open(mine, b"mine")


async def test_a_damaged_credential_is_refused(site: Site) -> None:
    slot = await site.romeo.slot("seal.bin", 4)
    good = credential(slot)
    url = slot.put_url.replace(good, flipped(good))
    headers = {name: value.replace(good, flipped(good)) for name, value in put_headers(slot).items()}
    reply = await send("PUT", url, headers, b"seal")
    if "Authorization" in headers:
        assert reply.status == 401, reply
        assert reply.headers["WWW-Authenticate"].startswith("Bearer"), reply
    else:
        assert reply.status == 403, reply
    await assert_still_open(slot, b"seal")


async def test_no_credential_at_all_is_answered_with_401(site: Site) -> None:
    slot = await site.romeo.slot("bare.bin", 4)
    reply = await send("PUT", slot.get_url, {"Content-Type": slot.content_type}, b"bare")
    assert reply.status == 401, reply
    assert reply.headers["WWW-Authenticate"].startswith("Bearer"), reply
    await assert_still_open(slot, b"bare")


async def test_a_second_put_after_completion_is_a_conflict_and_changes_nothing(site: Site) -> None:
    slot = await site.romeo.slot("once.bin", 4)
    assert_stored(await put(slot, b"once"))
    reply = await put(slot, b"more")
    assert reply.status == 409, reply
    await assert_comes_down(slot.get_url, b"once")


async def test_only_v2_binds_the_content_type(site: Site) -> None:
    slot = await site.romeo.slot("type.bin", 4, "image/png")
    retyped = dataclasses.replace(slot, content_type="text/html")
    reply = await put(retyped, b"type")
    if "?v2=" in slot.put_url:
        assert reply.status == 403, reply
        await assert_still_open(slot, b"type")
    else:
        assert_stored(reply)


async def test_neither_secret_nor_credential_reaches_the_log(site: Site) -> None:
    slot = await site.romeo.slot("diary.bin", 5)
    crossed = with_path_of(slot, slot.get_url + "x")
    assert (await put(crossed, b"diary")).status == 403
    assert_stored(await put(slot, b"diary"))
    assert (await put(slot, b"diary")).status == 409
    log = site.plimsoll.process.output()
    assert "listening on" in log
    assert SECRET not in log
    assert credential(slot) not in log
