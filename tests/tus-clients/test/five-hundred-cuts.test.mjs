/**
 * Five hundred uploads cut at random points, over HTTP/1 and HTTP/2, and each finished by a stock client: all become
 * complete and identical, and no byte that the server had acknowledged goes a second time.
 */
import assert from 'node:assert/strict'
import { once } from 'node:events'
import http2 from 'node:http2'
import net from 'node:net'
import { setTimeout as sleep } from 'node:timers/promises'
import { Upload } from 'tus-js-client'
import { assertHolds, bytes, head } from '../harness/data.mjs'
import { against } from '../harness/fixture.mjs'

const UPLOADS = Number(process.env.PLIMSOLL_CUTS ?? 500)
const AT_ONCE = 8
const WAYS = ['FIN', 'RST', 'half-close', 'silence']

const it = against()

/** The same choices for the same seed, so that a failure can be had again. */
function dice(seed) {
  let state = seed >>> 0
  return (below) => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0
    return Math.floor((state / 2 ** 32) * below)
  }
}

async function create(origin, size) {
  const headers = { 'Tus-Resumable': '1.0.0', 'Upload-Length': String(size) }
  const answer = await fetch(`${origin}/files`, { method: 'POST', headers })
  assert.equal(answer.status, 201)
  return new URL(answer.headers.get('location'), origin).href
}

async function connected(url) {
  const { hostname, port } = new URL(url)
  const socket = net.connect({ host: hostname, port: Number(port), allowHalfOpen: true })
  socket.on('error', () => {})
  await once(socket, 'connect')
  return socket
}

/** Begins a PATCH of all of `data`, sends `part` bytes of it, and goes away in one of the ways. */
async function cutPatch(version, way, url, data, part) {
  const socket = await connected(url)
  const { pathname, host } = new URL(url)
  if (version === 'HTTP/1') {
    socket.write(
      `PATCH ${pathname} HTTP/1.1\r\nHost: ${host}\r\nTus-Resumable: 1.0.0\r\nUpload-Offset: 0\r\n` +
        `Content-Type: application/offset+octet-stream\r\nContent-Length: ${data.length}\r\n\r\n`,
    )
    await new Promise((sent) => socket.write(data.subarray(0, part), sent))
  } else {
    const session = http2.connect(`http://${host}`, { createConnection: () => socket })
    session.on('error', () => {})
    const stream = session.request({
      ':method': 'PATCH',
      ':path': pathname,
      'tus-resumable': '1.0.0',
      'upload-offset': '0',
      'content-type': 'application/offset+octet-stream',
      'content-length': String(data.length),
    })
    stream.on('error', () => {})
    await new Promise((sent) => stream.write(data.subarray(0, part), sent))
  }
  // A HEAD acknowledges what has arrived, and the writer lives on.
  const seen = await head(url)
  const acknowledged = Number(seen.headers.get('upload-offset'))
  if (way === 'RST') socket.resetAndDestroy()
  else if (way === 'FIN') socket.destroySoon()
  else if (way === 'half-close') socket.end()
  return { socket, acknowledged }
}

/** A stock tus-js-client goes on; resolves with the offsets that its PATCHes named. */
function resumed(url, data) {
  const offsets = []
  return new Promise((resolve, reject) => {
    const upload = new Upload(data, {
      uploadUrl: url,
      retryDelays: [0, 20, 100, 500, 1000],
      onBeforeRequest: (request) => {
        if (request.getMethod() === 'PATCH') offsets.push(Number(request.getHeader('Upload-Offset')))
      },
      onError: reject,
      onSuccess: () => resolve(offsets),
    })
    upload.start()
  })
}

it(`${UPLOADS} uploads cut at random are all finished, and nothing acknowledged is sent twice`, async ({ server }) => {
  const figures = { uploads: 0, bytes: 0, kept: 0, again: 0, slowest: 0 }
  const count = {}
  const one = async (n) => {
    const pick = dice(n + 1)
    const data = bytes(1 + pick(512 * 1024), `cut ${n}`)
    const part = pick(data.length)
    const version = n % 2 ? 'HTTP/2' : 'HTTP/1'
    const way = WAYS[pick(WAYS.length)]
    const url = await create(server.origin, data.length)
    const { socket, acknowledged } = await cutPatch(version, way, url, data, part)
    await sleep(pick(30))
    const began = performance.now()
    const offsets = await resumed(url, data)
    const took = performance.now() - began
    socket.destroy()
    const label = `${n}: ${version} ${way} after ${part} of ${data.length}, ${acknowledged} acknowledged, went on at ${offsets}`
    assert.ok(offsets[0] >= acknowledged, label)
    for (let i = 1; i < offsets.length; i += 1) assert.ok(offsets[i] >= offsets[i - 1], label)
    assert.ok(offsets[0] <= part, label)
    await assertHolds(url, data)
    figures.uploads += 1
    figures.bytes += data.length
    figures.kept += offsets[0]
    figures.again += part - offsets[0]
    figures.slowest = Math.max(figures.slowest, took)
    count[`${version} ${way}`] = (count[`${version} ${way}`] ?? 0) + 1
  }
  let next = 0
  const lanes = Array.from({ length: AT_ONCE }, async () => {
    while (next < UPLOADS) {
      const n = next
      next += 1
      await one(n)
    }
  })
  await Promise.all(lanes)
  assert.equal(figures.uploads, UPLOADS)
  console.log(`${figures.uploads} uploads of ${figures.bytes} bytes in all, every one whole and identical`)
  console.log(`kept at the cut: ${figures.kept} bytes; sent before it and not kept: ${figures.again} bytes`)
  console.log(`slowest resumption: ${Math.round(figures.slowest)} ms; cuts: ${JSON.stringify(count)}`)
})
