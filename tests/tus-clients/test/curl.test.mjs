/** curl: tus by hand, as a shell script would speak it. */
import assert from 'node:assert/strict'
import { createHash } from 'node:crypto'
import { assertHolds, bytes, completed, head, MIB } from '../harness/data.mjs'
import { against } from '../harness/fixture.mjs'
import { run, withFile } from '../harness/programs.mjs'

const it = against()
const TUS = ['-H', 'Tus-Resumable: 1.0.0']
const BYTES = [...TUS, '-H', 'Content-Type: application/offset+octet-stream']

/** curl's exit status, and the last answer's status and headers. */
async function curl(...args) {
  const { status, stdout, stderr } = await run('curl', ['-sS', '--max-time', '30', '-D', '-', '-o', '/dev/null', ...args])
  const last = stdout.trim().split(/\r\n\r\n(?=HTTP)/).at(-1) ?? ''
  const [line, ...fields] = last.split('\r\n')
  const headers = Object.fromEntries(
    fields.map((field) => [field.slice(0, field.indexOf(':')).toLowerCase(), field.slice(field.indexOf(':') + 1).trim()]),
  )
  return { exit: status, code: Number(line.split(' ')[1]), headers, stdout, stderr }
}

async function create(tap, length, ...more) {
  const answer = await curl('-X', 'POST', ...TUS, '-H', `Upload-Length: ${length}`, ...more, tap.endpoint)
  assert.equal(answer.code, 201, answer.stdout)
  return new URL(answer.headers.location, tap.origin).href
}

it('OPTIONS tells what the server can do', async ({ tap }) => {
  const { code, headers } = await curl('-X', 'OPTIONS', tap.endpoint)
  assert.equal(code, 200)
  assert.equal(headers['tus-version'], '1.0.0')
  for (const extension of ['creation', 'creation-with-upload', 'creation-defer-length', 'expiration', 'checksum']) {
    assert.ok(headers['tus-extension'].split(',').includes(extension), extension)
  }
  for (const algorithm of ['sha1', 'sha256', 'md5', 'crc32c', 'crc32']) {
    assert.ok(headers['tus-checksum-algorithm'].split(',').includes(algorithm), algorithm)
  }
})

it('POST, HEAD, PATCH, HEAD, GET', ({ tap }) => {
  const data = bytes(3 * MIB + 1, 'curl')
  return withFile(data, async (path) => {
    const url = await create(tap, data.length)
    assert.equal((await curl('-I', ...TUS, url)).headers['upload-offset'], '0')
    const patch = await curl('-X', 'PATCH', ...BYTES, '-H', 'Upload-Offset: 0', '--data-binary', `@${path}`, url)
    assert.equal(patch.code, 204)
    assert.equal(patch.headers['upload-offset'], String(data.length))
    assert.equal((await curl('-I', ...TUS, url)).headers['upload-offset'], String(data.length))
    await assertHolds(url, data)
  })
})

it('a POST that carries the file is asked for after 100 Continue', ({ tap }) => {
  const data = bytes(2 * MIB, 'curl continue')
  return withFile(data, async (path) => {
    const args = ['-X', 'POST', ...BYTES, '-H', `Upload-Length: ${data.length}`, '-H', 'Expect: 100-continue']
    const { code, headers, stdout } = await curl(...args, '--expect100-timeout', '10', '--data-binary', `@${path}`, tap.endpoint)
    assert.match(stdout, /^HTTP\/1.1 100 Continue/)
    assert.equal(code, 201)
    assert.equal(headers['upload-offset'], String(data.length))
    await assertHolds(new URL(headers.location, tap.origin).href, data)
  })
})

it('a PATCH that is refused never sends its body, thanks to Expect', ({ tap }) => {
  const data = bytes(2 * MIB, 'curl refused')
  return withFile(data, async (path) => {
    const url = await create(tap, data.length)
    await curl('-X', 'PATCH', ...BYTES, '-H', 'Upload-Offset: 0', '--data-binary', 'x'.repeat(5), url)
    const args = ['-X', 'PATCH', ...BYTES, '-H', 'Upload-Offset: 0', '-H', 'Expect: 100-continue', '--expect100-timeout', '10']
    const { code, headers, stdout } = await curl(...args, '--data-binary', `@${path}`, url)
    assert.equal(code, 409)
    assert.equal(headers['upload-offset'], '5')
    assert.doesNotMatch(stdout, /100 Continue/)
    assert.equal(tap.sent('PATCH'), 5)
  })
})

it('a body of unknown length is appended as it comes', ({ tap }) => {
  const data = bytes(MIB + 5, 'curl chunked')
  return withFile(data, async (path) => {
    const url = await create(tap, data.length)
    const args = ['-X', 'PATCH', ...BYTES, '-H', 'Upload-Offset: 0', '-H', 'Transfer-Encoding: chunked', '-T', path]
    assert.equal((await curl(...args, url)).code, 204)
    assert.equal(tap.of('PATCH')[0].headers['transfer-encoding'], 'chunked')
    await assertHolds(url, data)
  })
})

it('an upload that was cut goes on at the offset that HEAD tells, with -C', ({ tap }) => {
  const data = bytes(5 * MIB, 'curl cut')
  return withFile(data, async (path) => {
    const url = await create(tap, data.length)
    tap.rate = 16 * MIB
    tap.breakOnce('PATCH', 2 * MIB, 'reset')
    const cut = await curl('-X', 'PATCH', ...BYTES, '-H', 'Upload-Offset: 0', '--data-binary', `@${path}`, url)
    assert.notEqual(cut.exit, 0)
    const mark = (await curl('-I', ...TUS, url)).headers['upload-offset']
    assert.ok(Number(mark) > 0 && Number(mark) < data.length, `the mark is ${mark}`)
    const rest = await curl('-X', 'PATCH', ...BYTES, '-H', `Upload-Offset: ${mark}`, '-C', mark, '-T', path, url)
    assert.equal(rest.code, 204)
    assert.equal(tap.of('PATCH')[1].body, data.length - Number(mark))
    tap.assertNothingAcknowledgedWasResent()
    await assertHolds(url, data)
  })
})

it('a slot that a plain PUT was cut from goes on with -C and -T alone', ({ server, tap }) => {
  const data = bytes(4 * MIB, 'curl slot')
  return withFile(data, async (path) => {
    const slot = tap.here(await server.slot(data.length, 'photo.jpg', 'image/jpeg'))
    tap.rate = 16 * MIB
    tap.breakOnce('PUT', MIB, 'reset')
    const type = ['-H', 'Content-Type: image/jpeg']
    assert.notEqual((await curl(...type, '-T', path, slot)).exit, 0)
    const mark = (await curl('-I', slot)).headers['upload-offset']
    assert.ok(Number(mark) > 0, `the mark is ${mark}`)
    assert.equal((await curl(...type, '-C', mark, '-T', path, slot)).code, 201)
    assert.equal(tap.of('PUT')[1].headers['content-range'], `bytes ${mark}-${data.length - 1}/${data.length}`)
    await assertHolds(slot, data)
  })
})

it('a tus upload that was cut goes on as a ranged PUT', ({ tap }) => {
  const data = bytes(3 * MIB, 'curl tus to put')
  return withFile(data, async (path) => {
    const url = await create(tap, data.length)
    tap.rate = 16 * MIB
    tap.breakOnce('PATCH', MIB, 'reset')
    await curl('-X', 'PATCH', ...BYTES, '-H', 'Upload-Offset: 0', '--data-binary', `@${path}`, url)
    const mark = (await curl('-I', ...TUS, url)).headers['upload-offset']
    assert.ok(Number(mark) > 0, `the mark is ${mark}`)
    assert.equal((await curl('-C', mark, '-T', path, url)).code, 201)
    await assertHolds(url, data)
  })
})

it('a checksum decides whether the bytes are kept', ({ tap }) => {
  const data = bytes(MIB, 'curl checksum')
  return withFile(data, async (path) => {
    const url = await create(tap, data.length)
    const send = (sum) =>
      curl('-X', 'PATCH', ...BYTES, '-H', 'Upload-Offset: 0', '-H', `Upload-Checksum: ${sum}`, '--data-binary', `@${path}`, url)
    const digest = (name, of) => createHash(name).update(of).digest('base64')
    assert.equal((await send(`sha256 ${digest('sha256', 'other')}`)).code, 460)
    assert.equal((await send(`crc64 ${digest('sha256', data)}`)).code, 400)
    assert.equal((await head(url)).headers.get('upload-offset'), '0')
    assert.equal((await send(`sha256 ${digest('sha256', data)}`)).code, 204)
    await assertHolds(url, data)
  })
})

it('partial uploads become one, before they are complete too', ({ tap }) => {
  const data = bytes(2 * MIB, 'curl concat')
  return withFile(data, async (path) => {
    const parts = [await create(tap, MIB, '-H', 'Upload-Concat: partial'), await create(tap, MIB, '-H', 'Upload-Concat: partial')]
    const final = await curl('-X', 'POST', ...TUS, '-H', `Upload-Concat: final;${parts.join(' ')}`, tap.endpoint)
    assert.equal(final.code, 201, final.stdout)
    const url = new URL(final.headers.location, tap.origin).href
    const before = await head(url)
    assert.equal(before.headers.get('upload-offset'), null)
    assert.equal(before.headers.get('upload-length'), String(data.length))
    for (const [index, part] of parts.entries()) {
      await withFile(data.subarray(index * MIB, (index + 1) * MIB), async (half) => {
        const sent = await curl('-X', 'PATCH', ...BYTES, '-H', 'Upload-Offset: 0', '--data-binary', `@${half}`, part)
        assert.equal(sent.code, 204)
      })
    }
    for (let tries = 0; tries < 100 && !(await head(url)).headers.has('upload-offset'); tries += 1) {
      await new Promise((resolve) => setTimeout(resolve, 50))
    }
    await completed(url, data.length)
    await assertHolds(url, data)
    assert.equal((await curl('-X', 'PATCH', ...BYTES, '-H', 'Upload-Offset: 0', '--data-binary', `@${path}`, url)).code, 403)
  })
})
