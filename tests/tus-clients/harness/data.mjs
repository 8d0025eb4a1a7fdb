/** Bytes to upload, and what is asked of them afterwards. */
import assert from 'node:assert/strict'
import { createCipheriv, createHash } from 'node:crypto'
import { setTimeout as sleep } from 'node:timers/promises'

export const MIB = 1024 * 1024

/** `size` bytes that repeat nowhere, the same for the same `seed`: a displaced or repeated block shows. */
export function bytes(size, seed = 1) {
  const key = createHash('sha256').update(String(seed)).digest()
  return createCipheriv('aes-256-ctr', key, Buffer.alloc(16)).update(Buffer.alloc(size))
}

export function sha256(data) {
  return createHash('sha256').update(data).digest('hex')
}

export async function head(url, headers = {}) {
  return fetch(url, { method: 'HEAD', headers: { 'Tus-Resumable': '1.0.0', ...headers } })
}

/** What a concatenation in the background still lacks is waited for: HEAD tells. */
export async function completed(url, size, headers = {}) {
  for (let tries = 0; tries < 200; tries += 1) {
    const answer = await head(url, headers)
    assert.equal(answer.status, 200, `HEAD ${url}`)
    if (answer.headers.get('upload-offset') === String(size)) return
    await sleep(50)
  }
  assert.fail(`${url} was not complete in time`)
}

/** GET answers exactly `data`. */
export async function assertHolds(url, data, headers = {}) {
  const answer = await fetch(url.split('?')[0], { headers })
  assert.equal(answer.status, 200, `GET ${url}`)
  assert.equal(answer.headers.get('content-length'), String(data.length))
  const got = Buffer.from(await answer.arrayBuffer())
  assert.equal(sha256(got), sha256(data), `${got.length} of ${data.length} bytes came back, and others than were sent`)
  return answer
}
