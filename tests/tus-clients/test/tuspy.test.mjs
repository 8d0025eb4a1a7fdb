/** tuspy, the Python client. */
import assert from 'node:assert/strict'
import { join } from 'node:path'
import { assertHolds, bytes, head, MIB } from '../harness/data.mjs'
import { against } from '../harness/fixture.mjs'
import { cutPlainPut } from '../harness/plain_put.mjs'
import { HERE, PYTHON, run, withFile } from '../harness/programs.mjs'

const it = against()

async function tuspy(wanted) {
  const { status, stdout, stderr } = await run(PYTHON, ['-B', join(HERE, 'drivers/tuspy_upload.py')], {
    input: JSON.stringify(wanted),
  })
  assert.equal(status, 0, stderr)
  return JSON.parse(stdout)
}

it('a file goes up whole', ({ tap }) => {
  const data = bytes(5 * MIB + 7, 'tuspy')
  return withFile(data, async (path) => {
    const { url, offset } = await tuspy({ endpoint: tap.endpoint, path })
    assert.equal(offset, data.length)
    await assertHolds(url, data)
    assert.deepEqual(tap.offsets(), [0])
  })
})

it('chunks go up with a checksum each', ({ tap }) => {
  const data = bytes(3 * MIB + 7, 'tuspy chunks')
  return withFile(data, async (path) => {
    const options = { chunk_size: MIB, upload_checksum: true }
    const { url } = await tuspy({ endpoint: tap.endpoint, path, options })
    await assertHolds(url, data)
    assert.deepEqual(tap.offsets(), [0, MIB, 2 * MIB, 3 * MIB])
    assert.ok(tap.of('PATCH').every((one) => one.headers['upload-checksum'].startsWith('sha1 ')))
  })
})

it('the asynchronous uploader sends chunks with a checksum each', ({ tap }) => {
  const data = bytes(2 * MIB + 7, 'tuspy async')
  return withFile(data, async (path) => {
    const options = { chunk_size: MIB, upload_checksum: true }
    const { url } = await tuspy({ endpoint: tap.endpoint, path, options, is_async: true })
    await assertHolds(url, data)
    assert.equal(tap.sent('PATCH'), data.length)
  })
})

it('metadata comes back byte for byte', ({ tap }) => {
  const data = bytes(100, 'tuspy metadata')
  return withFile(data, async (path) => {
    const metadata = { filename: 'наклейка 🏷.webp', filetype: 'image/webp' }
    const { url } = await tuspy({ endpoint: tap.endpoint, path, options: { metadata } })
    assert.equal((await head(url)).headers.get('upload-metadata'), tap.of('POST')[0].headers['upload-metadata'])
    const answer = await assertHolds(url, data)
    assert.equal(answer.headers.get('content-type'), 'image/webp')
  })
})

it('an empty file is complete with its creation', ({ tap }) =>
  withFile(Buffer.alloc(0), async (path) => {
    const { url } = await tuspy({ endpoint: tap.endpoint, path })
    await assertHolds(url, Buffer.alloc(0))
  }))

it('an upload that stopped goes on by its URL in another process', ({ tap }) => {
  const data = bytes(4 * MIB, 'tuspy url')
  return withFile(data, async (path) => {
    const { url } = await tuspy({ endpoint: tap.endpoint, path, options: { chunk_size: 700_000 }, stop_at: 1_500_000 })
    assert.equal((await head(url)).headers.get('upload-offset'), '1500000')
    await tuspy({ endpoint: tap.endpoint, path, url })
    await assertHolds(url, data)
    assert.deepEqual(tap.offsets(), [0, 700_000, 1_400_000, 1_500_000])
    tap.assertNothingAcknowledgedWasResent()
  })
})

it('an upload that stopped goes on by the URL that tuspy stored', ({ tap }) => {
  const data = bytes(2 * MIB, 'tuspy stored')
  return withFile(data, async (path, directory) => {
    const storage = join(directory, 'urls.json')
    const first = await tuspy({ endpoint: tap.endpoint, path, storage, options: { chunk_size: MIB }, stop_at: MIB })
    const { url } = await tuspy({ endpoint: tap.endpoint, path, storage })
    assert.equal(url, first.url)
    await assertHolds(url, data)
    assert.deepEqual(tap.offsets(), [0, MIB])
  })
})

it('connections that are reset are resumed by the client itself, and cost no byte that arrived', ({ tap }) => {
  const data = bytes(6 * MIB, 'tuspy reset')
  return withFile(data, async (path) => {
    tap.rate = 32 * MIB
    tap.breakOnce('PATCH', MIB, 'reset')
    tap.breakOnce('PATCH', 2 * MIB, 'reset')
    const { url } = await tuspy({ endpoint: tap.endpoint, path, options: { retries: 5, retry_delay: 0.1 } })
    await assertHolds(url, data)
    assert.equal(tap.of('PATCH').length, 3)
    assert.ok(tap.offsets()[1] > 0 && tap.offsets()[2] > tap.offsets()[1], `PATCHes began at ${tap.offsets()}`)
    tap.assertNothingAcknowledgedWasResent()
  })
})

it('what a cut plain PUT left at a slot is continued at its PUT URL', ({ server, tap }) => {
  const data = bytes(5 * MIB, 'tuspy slot')
  return withFile(data, async (path) => {
    const slot = await server.slot(data.length, 'photo.jpg', 'image/jpeg')
    const offset = async () => Number((await head(slot)).headers.get('upload-offset'))
    await cutPlainPut(slot, data, 2 * MIB, async () => (await offset()) === 2 * MIB)
    await tuspy({ url: tap.here(slot), path, endpoint: tap.endpoint })
    assert.deepEqual(tap.offsets(), [2 * MIB])
    await assertHolds(slot, data)
  })
})
