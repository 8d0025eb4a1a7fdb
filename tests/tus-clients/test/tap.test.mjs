/** The wire that the other tests watch: it has to see what they rely on it to see. */
import assert from 'node:assert/strict'
import { bytes, head } from '../harness/data.mjs'
import { against } from '../harness/fixture.mjs'

const it = against()

it('a byte that is sent again after it was acknowledged is noticed', async ({ tap }) => {
  const data = bytes(1000)
  const send = (method, url, headers, body) =>
    fetch(url, { method, body, headers: { 'Tus-Resumable': '1.0.0', 'Content-Type': 'application/offset+octet-stream', ...headers } })
  const created = await send('POST', tap.endpoint, { 'Upload-Length': '2000' })
  const url = new URL(created.headers.get('location'), tap.origin).href
  assert.throws(() => tap.assertNothingAcknowledgedWasResent(), /a PATCH was seen/)
  assert.equal((await send('PATCH', url, { 'Upload-Offset': '0' }, data)).status, 204)
  tap.assertNothingAcknowledgedWasResent()
  assert.equal((await head(url)).headers.get('upload-offset'), '1000')
  assert.equal((await send('PATCH', url, { 'Upload-Offset': '400' }, data)).status, 409)
  assert.throws(() => tap.assertNothingAcknowledgedWasResent(), /began at 400, acknowledged were 1000/)
  assert.deepEqual(tap.of('PATCH').map((one) => one.body), [1000, 1000])
})
