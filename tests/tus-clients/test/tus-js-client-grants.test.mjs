/** tus-js-client where creation, or every verb, asks for a grant. */
import assert from 'node:assert/strict'
import { assertHolds, bytes, head, MIB } from '../harness/data.mjs'
import { against } from '../harness/fixture.mjs'
import { prepare, uploaded } from '../harness/tus_js.mjs'

const it = against({ TUS__CREATE: 'grant', TUS__ACCESS: 'grant' })
const authorization = async (server, user) => ({ Authorization: `Bearer ${await server.grant(user)}` })

it('without a grant nothing is created, and the client does not insist', async ({ tap }) => {
  const { upload, done } = prepare(bytes(1000), { endpoint: tap.endpoint })
  upload.start()
  const why = await done.then(() => null, (error) => error)
  assert.equal(why?.originalResponse?.getStatus(), 401)
  assert.equal(tap.of('POST').length, 1)
})

it('with a grant a file goes up in parallel, and comes down with it alone', async ({ server, tap }) => {
  const data = bytes(3 * MIB, 'grant')
  const headers = await authorization(server, 'juliet')
  const url = await uploaded(data, { endpoint: tap.endpoint, headers, parallelUploads: 2 })
  for (let tries = 0; tries < 100; tries += 1) {
    if ((await head(url, headers)).headers.get('upload-offset') === String(data.length)) break
  }
  await assertHolds(url, data, headers)
  assert.equal((await fetch(url)).status, 401)
  assert.equal((await head(url)).status, 401)
})

it('the grant of another user does not go on with an upload', async ({ server, tap }) => {
  const data = bytes(3 * MIB, 'grant of another')
  tap.rate = 2 * MIB
  const first = prepare(data, { endpoint: tap.endpoint, headers: await authorization(server, 'juliet') })
  first.upload.start()
  await tap.passed('PATCH', MIB)
  await first.upload.abort()
  tap.rate = Number.POSITIVE_INFINITY
  const uploadUrl = first.upload.url
  const other = prepare(data, { uploadUrl, headers: await authorization(server, 'tybalt') })
  other.upload.start()
  const why = await other.done.then(() => null, (error) => error)
  assert.equal(why?.originalResponse?.getStatus(), 403)
  await assertHolds(await uploaded(data, { uploadUrl, headers: await authorization(server, 'juliet') }), data, await authorization(server, 'juliet'))
})
