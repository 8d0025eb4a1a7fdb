"""A transfer that broke goes on from the ledger's offset, with nothing but the slot that it began with."""

from __future__ import annotations

from typing import Literal

import pytest

from conftest import Site
from wire import (
    MIB,
    assert_comes_down,
    assert_stored,
    content,
    get,
    put,
    put_and_cut,
    put_range,
    query_offset,
    settled_offset,
)

LENGTH = 5 * MIB
HALF = LENGTH // 2 + 12_345


@pytest.mark.parametrize("how", ["closed", "reset"])
async def test_a_cut_put_is_finished_by_ranged_puts(site: Site, how: Literal["closed", "reset"]) -> None:
    body = content(LENGTH)
    slot = await site.romeo.slot("voyage.bin", LENGTH)
    await put_and_cut(slot, body[:HALF], how)

    offset = await settled_offset(slot, HALF)
    if how == "closed":
        assert offset == HALF
    assert 0 < offset <= HALF
    assert (await get(slot.get_url)).status == 404

    asked = await query_offset(slot)
    assert asked.status == 308, asked
    assert asked.headers["Range"] == f"bytes=0-{offset - 1}", asked
    assert asked.headers["Upload-Offset"] == str(offset), asked

    next_stop = offset + MIB
    kept = await put_range(slot, offset, body[offset:next_stop])
    assert kept.status == 308, kept
    assert kept.headers["Range"] == f"bytes=0-{next_stop - 1}", kept
    assert kept.headers["Upload-Offset"] == str(next_stop), kept
    assert kept.headers["Upload-Complete"] == "?0", kept
    assert kept.headers["Cache-Control"] == "no-store", kept
    assert kept.headers["Location"] is None, kept

    assert_stored(await put_range(slot, next_stop, body[next_stop:]))
    await assert_comes_down(slot.get_url, body)
    assert (await query_offset(slot)).status == 201
    assert (await put(slot, body)).status == 409


async def test_a_range_that_does_not_begin_at_the_offset_writes_nothing(site: Site) -> None:
    body = content(LENGTH)
    slot = await site.romeo.slot("gap.bin", LENGTH)
    await put_and_cut(slot, body[:HALF], "closed")
    assert await settled_offset(slot, HALF) == HALF
    for first in (HALF - 1, HALF + 1, 0):
        reply = await put_range(slot, first, b"\0" * (LENGTH - first))
        assert reply.status == 416, reply
        assert reply.headers["Content-Range"] == f"bytes */{HALF}", reply
        assert reply.headers["Upload-Offset"] == str(HALF), reply
    assert_stored(await put_range(slot, HALF, body[HALF:]))
    await assert_comes_down(slot.get_url, body)


async def test_a_client_that_knows_no_ranges_starts_over_on_the_same_slot(site: Site) -> None:
    body = content(LENGTH)
    slot = await site.romeo.slot("again.bin", LENGTH)
    await put_and_cut(slot, b"\0" * HALF, "closed")
    assert_stored(await put(slot, body))
    await assert_comes_down(slot.get_url, body)
