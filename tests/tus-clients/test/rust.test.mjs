/** The crate tus-uploader, built from crates.io. */
import assert from 'node:assert/strict'
import { join, resolve } from 'node:path'
import { assertHolds, bytes, completed, head, MIB } from '../harness/data.mjs'
import { against } from '../harness/fixture.mjs'
import { cutPlainPut } from '../harness/plain_put.mjs'
import { HERE, run, withFile } from '../harness/programs.mjs'

const TARGET = resolve(process.env.CARGO_TARGET_DIR ?? join(HERE, '../../target'))
const PROGRAM = join(TARGET, 'tus-clients/rust/debug/plimsoll-tus-uploader')

const it = against()

async function upload(wanted) {
  const { status, stdout, stderr } = await run(PROGRAM, [], { input: JSON.stringify(wanted) })
  assert.equal(status, 0, stderr)
  return JSON.parse(stdout)
}

it('a file goes up in chunks, with its metadata', ({ tap }) => {
  const data = bytes(5 * MIB + 7, 'rust')
  return withFile(data, async (path) => {
    const metadata = { filename: 'Kahnfahrt 🛶.txt', filetype: 'text/plain' }
    const { url, offset } = await upload({ endpoint: tap.endpoint, path, metadata, chunk_size: MIB })
    assert.equal(offset, data.length)
    assert.deepEqual(tap.offsets(), [0, 1, 2, 3, 4, 5].map((count) => count * MIB))
    assert.equal((await head(url)).headers.get('upload-metadata'), tap.of('POST')[0].headers['upload-metadata'])
    await assertHolds(url, data)
  })
})

it('a small file goes up with its creation', ({ tap }) => {
  const data = bytes(100_000, 'rust small')
  return withFile(data, async (path) => {
    const { url } = await upload({ endpoint: tap.endpoint, path, initial_size: MIB })
    assert.equal(tap.of('PATCH').length, 0)
    await assertHolds(url, data)
  })
})

it('every chunk is verified against its checksum in a header', ({ tap }) => {
  const data = bytes(2 * MIB + 7, 'rust header')
  return withFile(data, async (path) => {
    const { url } = await upload({ endpoint: tap.endpoint, path, chunk_size: MIB, checksum: 'header' })
    assert.ok(tap.of('PATCH').every((one) => one.headers['upload-checksum'].startsWith('sha256 ')))
    assert.deepEqual(tap.statuses('PATCH'), [204, 204, 204])
    await assertHolds(url, data)
  })
})

it('a checksum that the client announces as a trailer and then omits is refused, and nothing is kept', ({ tap }) => {
  const data = bytes(100_000, 'rust trailer')
  return withFile(data, async (path) => {
    // This release announces the trailer of a body with Content-Length, which cannot have one.
    const { status, stderr } = await run(PROGRAM, [], {
      input: JSON.stringify({ endpoint: tap.endpoint, path, checksum: 'trailer' }),
    })
    assert.equal(status, 1)
    assert.match(stderr, /status: 400/)
    const [patch] = tap.of('PATCH')
    assert.equal(patch.headers.trailer, 'upload-checksum')
    assert.equal((await head(tap.origin + patch.path)).headers.get('upload-offset'), '0')
  })
})

it('parallel parts become one', ({ tap }) => {
  const data = bytes(5 * MIB + 7, 'rust parallel')
  return withFile(data, async (path) => {
    const { url } = await upload({ endpoint: tap.endpoint, path, part_size: 2 * MIB })
    await completed(url, data.length)
    await assertHolds(url, data)
    assert.equal(tap.of('POST').filter((one) => one.headers['upload-concat'] === 'partial').length, 3)
    tap.assertNothingAcknowledgedWasResent()
  })
})

it('connections that are reset are resumed by the client itself, and cost no byte that arrived', ({ tap }) => {
  const data = bytes(5 * MIB, 'rust reset')
  return withFile(data, async (path) => {
    tap.rate = 16 * MIB
    tap.breakOnce('PATCH', MIB, 'reset')
    tap.breakOnce('PATCH', 1_500_000, 'reset')
    const { url } = await upload({ endpoint: tap.endpoint, path, chunk_size: data.length })
    await assertHolds(url, data)
    assert.ok(tap.of('PATCH').length >= 3)
    assert.ok(tap.offsets()[1] > 0 && tap.offsets()[2] > tap.offsets()[1], `PATCHes began at ${tap.offsets()}`)
    tap.assertNothingAcknowledgedWasResent()
  })
})

it('what a cut plain PUT left at a slot is continued at its PUT URL', ({ server, tap }) => {
  const data = bytes(5 * MIB, 'rust slot')
  return withFile(data, async (path) => {
    const slot = await server.slot(data.length, 'photo.jpg', 'image/jpeg')
    const offset = async () => Number((await head(slot)).headers.get('upload-offset'))
    await cutPlainPut(slot, data, 2 * MIB, async () => (await offset()) === 2 * MIB)
    await upload({ endpoint: tap.endpoint, path, url: tap.here(slot) })
    assert.equal(tap.offsets()[0], 2 * MIB)
    tap.assertNothingAcknowledgedWasResent()
    await assertHolds(slot, data)
  })
})
