/** tus-js-client when the line, the server or another writer comes in between: it goes on from the mark. */
import assert from 'node:assert/strict'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { createReadStream } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { FileUrlStorage } from 'tus-js-client'
import { assertHolds, bytes, completed, head, MIB } from '../harness/data.mjs'
import { against } from '../harness/fixture.mjs'
import { cutPlainPut } from '../harness/plain_put.mjs'
import { prepare, uploaded } from '../harness/tus_js.mjs'

const it = against()

/** Resumption began somewhere inside, and nothing that was acknowledged went again. */
function assertResumedInside(tap, data) {
  tap.assertNothingAcknowledgedWasResent()
  const inside = tap.offsets().filter((offset) => offset > 0 && offset < data.length)
  assert.ok(inside.length > 0, `PATCHes began at ${tap.offsets()}`)
}

it('an aborted upload goes on from the URL that the client stored', async ({ tap }) => {
  const data = bytes(6 * MIB, 'stored')
  const directory = await mkdtemp(join(tmpdir(), 'plimsoll-tus-clients-'))
  try {
    const path = join(directory, 'film.mp4')
    await writeFile(path, data)
    const options = { endpoint: tap.endpoint, urlStorage: new FileUrlStorage(join(directory, 'urls.json')) }
    tap.rate = 4 * MIB
    const first = prepare(createReadStream(path), options)
    first.upload.start()
    await tap.passed('PATCH', 2 * MIB)
    await first.upload.abort()
    tap.drop()

    tap.rate = Number.POSITIVE_INFINITY
    const second = prepare(createReadStream(path), options)
    const [previous] = await second.upload.findPreviousUploads()
    assert.equal(previous.uploadUrl, first.upload.url)
    second.upload.resumeFromPreviousUpload(previous)
    second.upload.start()
    await assertHolds(await second.done, data)
    assert.equal(tap.of('POST').length, 1)
    assertResumedInside(tap, data)
  } finally {
    await rm(directory, { recursive: true })
  }
})

it('the same client object pauses and resumes', async ({ tap }) => {
  const data = bytes(5 * MIB, 'pause')
  tap.rate = 4 * MIB
  const { upload, done } = prepare(data, { endpoint: tap.endpoint })
  upload.start()
  for (let pauses = 0; pauses < 3; pauses += 1) {
    await tap.passed('PATCH', MIB)
    await upload.abort()
    tap.drop()
    // The client takes the end of the request that it aborted for an error of the next one if that is begun at once.
    await sleep(100)
    upload.start()
  }
  await assertHolds(await done, data)
  assertResumedInside(tap, data)
})

it('an aborted parallel upload goes on in every part', async ({ tap }) => {
  const data = bytes(8 * MIB, 'stored parallel')
  const directory = await mkdtemp(join(tmpdir(), 'plimsoll-tus-clients-'))
  try {
    const path = join(directory, 'film.mp4')
    await writeFile(path, data)
    const urlStorage = new FileUrlStorage(join(directory, 'urls.json'))
    const options = { endpoint: tap.endpoint, parallelUploads: 2, urlStorage }
    tap.rate = 2 * MIB
    const first = prepare(createReadStream(path), options)
    first.upload.start()
    await tap.passed('PATCH', 3 * MIB)
    await first.upload.abort()
    tap.drop()

    tap.rate = Number.POSITIVE_INFINITY
    const second = prepare(createReadStream(path), options)
    const [previous] = await second.upload.findPreviousUploads()
    assert.equal(previous.parallelUploadUrls.length, 2)
    second.upload.resumeFromPreviousUpload(previous)
    second.upload.start()
    const url = await second.done
    await completed(url, data.length)
    await assertHolds(url, data)
    const partials = tap.of('POST').filter((one) => one.headers['upload-concat'] === 'partial')
    assert.equal(partials.length, 2)
    assertResumedInside(tap, data)
  } finally {
    await rm(directory, { recursive: true })
  }
})

it('connections that are reset again and again are resumed by the client itself', async ({ tap }) => {
  const data = bytes(6 * MIB, 'reset')
  tap.rate = 16 * MIB
  for (let cuts = 0; cuts < 4; cuts += 1) tap.breakOnce('PATCH', (cuts + 1) * 300_000, 'reset')
  await assertHolds(await uploaded(data, { endpoint: tap.endpoint }), data)
  assert.equal(tap.of('PATCH').length, 5)
  assertResumedInside(tap, data)
})

it('a connection that is reset within a chunk costs no byte that arrived', async ({ tap }) => {
  const data = bytes(4 * MIB, 'reset chunk')
  tap.rate = 16 * MIB
  tap.breakOnce('PATCH', 700_000, 'reset')
  await assertHolds(await uploaded(data, { endpoint: tap.endpoint, chunkSize: MIB }), data)
  const inside = tap.offsets().filter((offset) => offset % MIB !== 0)
  assert.ok(inside.length > 0, `PATCHes began at ${tap.offsets()}`)
  assertResumedInside(tap, data)
})

it('an answer that is lost after the last byte is not paid for twice', async ({ tap }) => {
  const data = bytes(2 * MIB, 'lost answer')
  tap.breakOnce('PATCH', data.length, 'lose-answer')
  const url = await uploaded(data, { endpoint: tap.endpoint })
  assert.deepEqual(tap.exchanges.map((one) => one.method), ['POST', 'PATCH', 'HEAD'])
  assert.deepEqual(tap.offsets(), [0])
  await assertHolds(url, data)
})

it('an answer that is lost between chunks is not paid for twice', async ({ tap }) => {
  const data = bytes(2 * MIB, 'lost chunk answer')
  tap.breakOnce('PATCH', MIB, 'lose-answer')
  await assertHolds(await uploaded(data, { endpoint: tap.endpoint, chunkSize: MIB }), data)
  assert.deepEqual(tap.offsets(), [0, MIB])
})

it('a half-open connection does not keep its upload from a new one', async ({ tap }) => {
  const data = bytes(10 * MIB, 'half-open')
  const silent = tap.breakOnce('PATCH', 3 * MIB, 'silence')
  const first = prepare(data, { endpoint: tap.endpoint })
  first.upload.start()
  await silent
  await sleep(300)
  const began = performance.now()
  const url = await uploaded(data, { uploadUrl: first.upload.url })
  const took = performance.now() - began
  await first.upload.abort()
  await assertHolds(url, data)
  const [before] = tap.of('PATCH')
  assert.ok(before.body >= 3 * MIB)
  assert.deepEqual(tap.offsets(), [0, before.body], 'every byte that had come through was kept')
  assert.ok(took < 3000, `resumption took ${took} ms`)
})

it('a writer that another one took over from comes back and ends the file', async ({ server, tap }) => {
  const data = bytes(6 * MIB, 'taken over')
  tap.rate = 3 * MIB
  const statuses = []
  const { upload, done } = prepare(data, {
    endpoint: tap.endpoint,
    retryDelays: [300, 300, 300],
    onAfterResponse: (request, response) => statuses.push(`${request.getMethod()} ${response.getStatus()}`),
  })
  upload.start()
  await tap.passed('PATCH', 2 * MIB)
  const url = server.origin + new URL(upload.url).pathname
  const patch = (offset) =>
    fetch(url, {
      method: 'PATCH',
      headers: {
        'Tus-Resumable': '1.0.0',
        'Content-Type': 'application/offset+octet-stream',
        'Upload-Offset': String(offset),
      },
      body: data.subarray(offset, offset + 100_000),
    })
  let answer = await patch(Number((await head(url)).headers.get('upload-offset')))
  if (answer.status === 409) answer = await patch(Number(answer.headers.get('upload-offset')))
  assert.equal(answer.status, 204)
  await assertHolds(await done, data)
  assert.ok(statuses.includes('PATCH 409'), statuses.join(', '))
  assertResumedInside(tap, data)
})

it('a server that is killed and comes back finds its client again', async ({ server, tap }) => {
  const data = bytes(12 * MIB, 'killed')
  tap.rate = 4 * MIB
  const { upload, done } = prepare(data, { endpoint: tap.endpoint, retryDelays: [100, 200, 400, 800, 1600, 3200] })
  upload.start()
  await tap.passed('PATCH', 6 * MIB)
  await server.kill()
  await sleep(300)
  tap.rate = Number.POSITIVE_INFINITY
  await server.restart()
  await assertHolds(await done, data)
  assertResumedInside(tap, data)
})

it('a server that is killed comes back to a client that speaks to it directly', async ({ server }) => {
  const data = bytes(64 * MIB, 'killed direct')
  let sent = 0
  const { upload, done } = prepare(data, {
    endpoint: server.endpoint,
    chunkSize: MIB,
    retryDelays: [100, 200, 400, 800, 1600, 3200],
    onChunkComplete: (_, accepted) => {
      sent = accepted
    },
  })
  upload.start()
  while (sent < 8 * MIB) await sleep(1)
  await server.kill()
  const acknowledged = sent
  await server.restart()
  assert.ok(acknowledged < data.length, 'it was killed in the middle')
  const mark = Number((await head(upload.url)).headers.get('upload-offset'))
  assert.ok(mark >= acknowledged, `${acknowledged} were acknowledged, ${mark} are there`)
  await assertHolds(await done, data)
})

const SLOTS = {
  'of plimsoll slot': (server, size) => server.slot(size, 'train journey.mp4', 'video/mp4'),
  'of an XMPP server (v1)': (server, size) => server.slotV1(size, `0a1b2c/${crypto.randomUUID()}/très cool.mp4`),
}

for (const [whose, mint] of Object.entries(SLOTS)) {
  it(`what a cut plain PUT left at a slot ${whose} is continued at its PUT URL`, async ({ server, tap }) => {
    const data = bytes(10 * MIB, whose)
    const slot = await mint(server, data.length)
    const sent = 3 * MIB + 12_345
    const offset = async () => Number((await head(slot)).headers.get('upload-offset'))
    await cutPlainPut(slot, data, sent, async () => (await offset()) === sent)
    await uploaded(data, { uploadUrl: tap.here(slot) })
    assert.deepEqual(tap.offsets(), [sent])
    assert.equal(tap.sent('PATCH'), data.length - sent)
    await assertHolds(slot, data)
  })
}

it('a slot that nobody has touched is filled from its beginning, in chunks', async ({ server, tap }) => {
  const data = bytes(2 * MIB + 1, 'fresh slot')
  const slot = await server.slot(data.length, 'chunks.bin')
  await uploaded(data, { uploadUrl: tap.here(slot), chunkSize: MIB })
  assert.deepEqual(tap.offsets(), [0, MIB, 2 * MIB])
  await assertHolds(slot, data)
})
