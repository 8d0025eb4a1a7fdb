/** Node's own HTTP client: what no tus client at hand sends, a checksum after the body. */
import assert from 'node:assert/strict'
import { createHash } from 'node:crypto'
import { once } from 'node:events'
import { request } from 'node:http'
import { assertHolds, bytes, head, MIB } from '../harness/data.mjs'
import { against } from '../harness/fixture.mjs'

const it = against()

async function create(tap, length) {
  const answer = await fetch(tap.endpoint, {
    method: 'POST',
    headers: { 'Tus-Resumable': '1.0.0', 'Upload-Length': String(length) },
  })
  assert.equal(answer.status, 201)
  return new URL(answer.headers.get('location'), tap.origin).href
}

/** PATCHes `data`, chunked, in two pieces, with the checksum of `summed` in the trailer. */
async function patch(url, offset, data, summed) {
  const sending = request(url, {
    method: 'PATCH',
    headers: {
      'Tus-Resumable': '1.0.0',
      'Content-Type': 'application/offset+octet-stream',
      'Upload-Offset': String(offset),
      'Transfer-Encoding': 'chunked',
      Trailer: 'Upload-Checksum',
    },
  })
  sending.write(data.subarray(0, data.length / 2))
  sending.write(data.subarray(data.length / 2))
  if (summed) sending.addTrailers({ 'Upload-Checksum': `sha1 ${createHash('sha1').update(summed).digest('base64')}` })
  sending.end()
  const [answer] = await once(sending, 'response')
  answer.resume()
  await once(answer, 'end')
  return answer
}

it('bytes whose checksum follows in a trailer are kept when it is right', async ({ tap }) => {
  const data = bytes(2 * MIB, 'trailer')
  const url = await create(tap, data.length)
  const answer = await patch(url, 0, data, data)
  assert.equal(answer.statusCode, 204)
  assert.equal(answer.headers['upload-offset'], String(data.length))
  await assertHolds(url, data)
})

it('bytes whose checksum follows in a trailer are dropped when it is wrong or missing', async ({ tap }) => {
  const data = bytes(2 * MIB, 'wrong trailer')
  const url = await create(tap, data.length)
  assert.equal((await patch(url, 0, data, data.subarray(1))).statusCode, 460)
  assert.equal((await patch(url, 0, data, null)).statusCode, 400)
  assert.equal((await head(url)).headers.get('upload-offset'), '0')
  assert.equal((await patch(url, 0, data, data)).statusCode, 204)
  await assertHolds(url, data)
})
