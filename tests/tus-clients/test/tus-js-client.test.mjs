/** tus-js-client: every way it has to send a file. What happens when the line breaks is in tus-js-client-cuts. */
import assert from 'node:assert/strict'
import { createHash } from 'node:crypto'
import { createReadStream } from 'node:fs'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Readable } from 'node:stream'
import { setTimeout as sleep } from 'node:timers/promises'
import { DefaultHttpStack, Upload } from 'tus-js-client'
import { assertHolds, bytes, completed, head, MIB } from '../harness/data.mjs'
import { against } from '../harness/fixture.mjs'
import { prepare, uploaded } from '../harness/tus_js.mjs'

const it = against()

it('a file goes up in one POST and one PATCH', async ({ tap }) => {
  const data = bytes(5 * MIB + 7)
  const url = await uploaded(data, { endpoint: tap.endpoint })
  await assertHolds(url, data)
  assert.deepEqual(tap.exchanges.slice(0, 2).map((one) => one.method), ['POST', 'PATCH'])
  tap.assertNothingAcknowledgedWasResent()
  assert.equal(tap.sent('PATCH'), data.length)
})

it('a file that is read from the disk goes up', async ({ tap }) => {
  const data = bytes(3 * MIB + 1, 'disk')
  const directory = await mkdtemp(join(tmpdir(), 'plimsoll-tus-clients-'))
  try {
    const path = join(directory, 'film.mp4')
    await writeFile(path, data)
    const url = await uploaded(createReadStream(path), { endpoint: tap.endpoint })
    await assertHolds(url, data)
    assert.equal(tap.sent('PATCH'), data.length)
  } finally {
    await rm(directory, { recursive: true })
  }
})

it('an empty file is complete with its creation', async ({ tap }) => {
  const url = await uploaded(Buffer.alloc(0), { endpoint: tap.endpoint, uploadSize: 0 })
  await assertHolds(url, Buffer.alloc(0))
  assert.equal(tap.of('PATCH').length, 0)
})

it('chunks go up one after the other, each once', async ({ tap }) => {
  const data = bytes(5 * MIB + 3, 'chunks')
  const url = await uploaded(data, { endpoint: tap.endpoint, chunkSize: MIB })
  await assertHolds(url, data)
  assert.deepEqual(tap.offsets(), [0, 1, 2, 3, 4, 5].map((count) => count * MIB))
  assert.equal(tap.sent('PATCH'), data.length)
  assert.deepEqual(tap.statuses('PATCH'), Array(6).fill(204))
})

it('parallel uploads are concatenated, with the metadata of the whole', async ({ tap }) => {
  const data = bytes(9 * MIB + 5, 'parallel')
  const url = await uploaded(data, {
    endpoint: tap.endpoint,
    parallelUploads: 4,
    metadata: { filename: 'quarters.bin', filetype: 'application/x-quarters' },
  })
  await completed(url, data.length)
  const answer = await assertHolds(url, data)
  // A type that a browser might run is served as bytes.
  assert.equal(answer.headers.get('content-type'), 'application/octet-stream')
  const concat = tap.of('POST').map((one) => one.headers['upload-concat'].split(';')[0])
  assert.deepEqual(concat, ['partial', 'partial', 'partial', 'partial', 'final'])
  const final = (await head(url)).headers.get('upload-concat')
  assert.equal(final, tap.of('POST').at(-1).headers['upload-concat'])
  assert.equal(tap.sent('PATCH'), data.length)
})

it('parallel uploads in chunks end whole', async ({ tap }) => {
  const data = bytes(4 * MIB + 11, 'parallel chunks')
  const url = await uploaded(data, { endpoint: tap.endpoint, parallelUploads: 3, chunkSize: 512 * 1024 })
  await completed(url, data.length)
  await assertHolds(url, data)
  tap.assertNothingAcknowledgedWasResent()
  assert.equal(tap.sent('PATCH'), data.length)
})

it('a stream of unknown length tells its length at its end', async ({ tap }) => {
  const data = bytes(2 * MIB + 9, 'deferred')
  const pieces = Array.from({ length: Math.ceil(data.length / 70_000) }, (_, i) => data.subarray(i * 70_000, (i + 1) * 70_000))
  const url = await uploaded(Readable.from(pieces), {
    endpoint: tap.endpoint,
    uploadLengthDeferred: true,
    chunkSize: 600_000,
  })
  await assertHolds(url, data)
  const [creation] = tap.of('POST')
  assert.equal(creation.headers['upload-defer-length'], '1')
  assert.equal(creation.headers['upload-length'], undefined)
  assert.equal(tap.of('PATCH').at(-1).headers['upload-length'], String(data.length))
  tap.assertNothingAcknowledgedWasResent()
})

it('HEAD says that the length is deferred until it is told', async ({ tap }) => {
  const data = bytes(330_000, 'deferred head')
  let answer
  async function* pieces() {
    yield data.subarray(0, 150_000)
    for (const end = Date.now() + 10_000; tap.statuses('PATCH')[0] !== 204 && Date.now() < end; ) await sleep(5)
    answer = await head(upload.url)
    yield data.subarray(150_000)
  }
  const { upload, done } = prepare(Readable.from(pieces(), { objectMode: false }), {
    endpoint: tap.endpoint,
    uploadLengthDeferred: true,
    chunkSize: 100_000,
  })
  upload.start()
  const url = await done
  assert.equal(answer.headers.get('upload-offset'), '100000')
  assert.equal(answer.headers.get('upload-defer-length'), '1')
  assert.equal(answer.headers.get('upload-length'), null)
  assert.equal((await head(url)).headers.get('upload-length'), '330000')
  await assertHolds(url, data)
})

it('PATCH in the clothes of POST is a PATCH', async ({ tap }) => {
  const data = bytes(2 * MIB, 'override')
  const url = await uploaded(data, { endpoint: tap.endpoint, overridePatchMethod: true, chunkSize: MIB })
  await assertHolds(url, data)
  assert.deepEqual(tap.offsets(), [0, MIB])
  assert.ok(tap.of('PATCH').every((one) => one.wire === 'POST'))
})

it('the creation carries the whole file', async ({ tap }) => {
  const data = bytes(MIB + 17, 'creation')
  const url = await uploaded(data, { endpoint: tap.endpoint, uploadDataDuringCreation: true })
  await assertHolds(url, data)
  assert.equal(tap.of('PATCH').length, 0)
  assert.equal(tap.of('POST')[0].answer['upload-offset'], String(data.length))
})

it('the creation carries the first chunk', async ({ tap }) => {
  const data = bytes(2 * MIB + 17, 'creation chunk')
  const url = await uploaded(data, { endpoint: tap.endpoint, uploadDataDuringCreation: true, chunkSize: MIB })
  await assertHolds(url, data)
  assert.deepEqual(tap.offsets(), [MIB, 2 * MIB])
  tap.assertNothingAcknowledgedWasResent()
})

it('parallel uploads carry data at creation too', async ({ tap }) => {
  const data = bytes(2 * MIB + 17, 'creation parallel')
  const url = await uploaded(data, { endpoint: tap.endpoint, uploadDataDuringCreation: true, parallelUploads: 2 })
  await completed(url, data.length)
  await assertHolds(url, data)
  assert.equal(tap.of('PATCH').length, 0)
})

const CHECKSUMS = {
  md5: (data) => createHash('md5').update(data).digest('base64'),
  sha1: (data) => createHash('sha1').update(data).digest('base64'),
  sha256: (data) => createHash('sha256').update(data).digest('base64'),
}

/** The client has no checksums of its own; its hook for headers is where applications add them. */
function withChecksum(data, chunkSize, sum) {
  return (request) => {
    const offset = Number(request.getHeader('Upload-Offset') ?? 0)
    if (request.getMethod() !== 'PATCH') return
    request.setHeader('Upload-Checksum', sum(data.subarray(offset, offset + chunkSize), offset))
  }
}

for (const [name, digest] of Object.entries(CHECKSUMS)) {
  it(`every chunk is verified against its ${name}`, async ({ tap }) => {
    const data = bytes(MIB + 33, name)
    const chunkSize = 400_000
    const url = await uploaded(data, {
      endpoint: tap.endpoint,
      chunkSize,
      onBeforeRequest: withChecksum(data, chunkSize, (chunk) => `${name} ${digest(chunk)}`),
    })
    await assertHolds(url, data)
    assert.ok(tap.of('PATCH').every((one) => one.headers['upload-checksum'].startsWith(name)))
    assert.deepEqual(tap.statuses('PATCH'), [204, 204, 204])
  })
}

it('a chunk whose checksum is wrong is not kept, and the upload goes on from before it', async ({ tap }) => {
  const data = bytes(MIB, 'mismatch')
  const chunkSize = 256 * 1024
  const options = { endpoint: tap.endpoint, chunkSize }
  const wrongAtSecond = (chunk, offset) => `sha1 ${CHECKSUMS.sha1(offset === chunkSize ? Buffer.from('other') : chunk)}`
  const { upload, done } = prepare(data, { ...options, onBeforeRequest: withChecksum(data, chunkSize, wrongAtSecond) })
  upload.start()
  const why = await done.then(() => null, (error) => error)
  assert.equal(why?.originalResponse?.getStatus(), 460)
  assert.equal((await head(upload.url)).headers.get('upload-offset'), String(chunkSize))
  const right = (chunk) => `sha1 ${CHECKSUMS.sha1(chunk)}`
  await uploaded(data, { uploadUrl: upload.url, chunkSize, onBeforeRequest: withChecksum(data, chunkSize, right) })
  await assertHolds(upload.url, data)
  assert.deepEqual(tap.offsets(), [0, 1, 1, 2, 3].map((count) => count * chunkSize))
})

it('metadata comes back byte for byte, and names the download', async ({ tap }) => {
  const data = bytes(1000, 'metadata')
  const metadata = { filename: 'Übergröße 🚢 – план.txt', filetype: 'text/plain', empty: '', poem: '松\n竹\t"梅",' }
  const url = await uploaded(data, { endpoint: tap.endpoint, metadata })
  const sent = tap.of('POST')[0].headers['upload-metadata']
  const got = (await head(url)).headers.get('upload-metadata')
  assert.equal(got, sent)
  const decoded = Object.fromEntries(
    got.split(',').map((pair) => pair.split(' ')).map(([key, value]) => [key, Buffer.from(value ?? '', 'base64').toString()]),
  )
  assert.deepEqual(decoded, metadata)
  const answer = await assertHolds(url, data)
  assert.match(answer.headers.get('content-type'), /^text\/plain/)
  assert.ok(answer.headers.get('content-disposition').includes(`filename*=UTF-8''${encodeURIComponent(metadata.filename)}`))
})

it('an upload that is terminated half-way is gone', async ({ tap }) => {
  tap.rate = 2 * MIB
  const { upload } = prepare(bytes(4 * MIB, 'terminate'), { endpoint: tap.endpoint })
  upload.start()
  await tap.passed('PATCH', MIB)
  await upload.abort(true)
  assert.deepEqual(tap.statuses('DELETE'), [204])
  assert.equal((await head(upload.url)).status, 410)
})

it('a complete upload is terminated by its URL', async ({ tap }) => {
  const url = await uploaded(bytes(5000, 'terminate complete'), { endpoint: tap.endpoint })
  await Upload.terminate(url, { ...Upload.defaultOptions, httpStack: new DefaultHttpStack({}) })
  assert.equal((await fetch(url)).status, 410)
})

it('a file beyond the limit is refused with 413 and not tried again', async ({ tap }) => {
  const { upload, done } = prepare(bytes(10), { endpoint: tap.endpoint, uploadSize: 2 ** 41 })
  upload.start()
  const why = await done.then(() => null, (error) => error)
  assert.equal(why?.originalResponse?.getStatus(), 413)
  assert.equal(tap.of('POST').length, 1)
})
