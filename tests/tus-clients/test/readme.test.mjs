/** README.md says the truth: its tus client and its resuming curl are run as they stand there. */
import assert from 'node:assert/strict'
import { createHmac } from 'node:crypto'
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import * as tus from 'tus-js-client'
import { assertHolds, bytes, MIB } from '../harness/data.mjs'
import { against } from '../harness/fixture.mjs'
import { HERE, run, withFile } from '../harness/programs.mjs'

const it = against({ TUS__CREATE: 'grant', SLOTS__SECRET: 'a secret that README is read with' })
const README = await readFile(join(HERE, '..', '..', 'README.md'), 'utf8')

/** Replaces what README says by what the test has; it has to stand there. */
function adapted(text, changes) {
  return changes.reduce((changed, [from, to]) => {
    assert.ok(changed.includes(from), `README does not say ${from}:\n${text}`)
    return changed.replaceAll(from, () => to)
  }, text)
}

it('the tus client uploads the file', async ({ server, tap }) => {
  const blocks = README.split('\n```js\n').slice(1).map((rest) => rest.split('\n```')[0])
  assert.equal(blocks.length, 1)
  const snippet = adapted(blocks[0], [['"https://upload.example.org/files"', JSON.stringify(tap.endpoint)]])
  const data = bytes(3 * MIB, 'readme')
  // Outside of a browser the client takes a Buffer for the File.
  const file = Object.assign(Buffer.from(data), { name: 'photo.jpg', type: 'image/jpeg' })
  const grant = await server.grant('romeo')
  const body = new (async () => {}).constructor('tus', 'file', 'grant', 'console', snippet)
  const url = await new Promise((resolve, reject) => {
    body(tus, file, grant, { log: resolve, error: reject }).catch(reject)
  })
  await assertHolds(url, data)
  const answer = await fetch(url, { method: 'HEAD' })
  assert.equal(answer.headers.get('content-type'), 'image/jpeg')
})

it('curl continues an upload to a slot that signs its media type', async ({ server }) => {
  const data = bytes(5242880, 'readme, curl')
  const sent = 3145728
  const path = 'readme/photo.jpg'
  const mac = createHmac('sha256', server.settings.SLOTS__SECRET).update(`${path}\0${data.length}\0image/jpeg`).digest('hex')
  const url = `${server.origin}/upload/${path}`
  const headers = { 'Content-Type': 'image/jpeg', 'Content-Range': `bytes 0-${sent - 1}/${data.length}` }
  const begun = await fetch(`${url}?v2=${mac}`, { method: 'PUT', headers, body: data.subarray(0, sent) })
  assert.equal(begun.status, 308)
  const [, below] = README.split('\nAn upload that broke off ')
  const lines = below.split('\n').filter((line) => line.startsWith('    '))
  const script = lines.slice(0, 3).join('\n')
  assert.match(script, /curl -I [^]*tail -c [^]*"\$PUT_URL"$/)
  await withFile(data, async (photo) => {
    const command = adapted(script, [['photo.jpg', photo]])
    const { status, stdout, stderr } = await run('bash', ['-euc', `PUT_URL='${url}?v2=${mac}'\n${command}`])
    assert.equal(status, 0, stderr)
    assert.match(stdout.toLowerCase(), /upload-offset: 3145728\r/)
  })
  await assertHolds(url, data)
})
