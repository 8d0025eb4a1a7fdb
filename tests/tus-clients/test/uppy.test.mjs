/** Uppy's Dashboard in Chromium, on a page of another origin, used through its buttons. */
import assert from 'node:assert/strict'
import { mkdir, stat } from 'node:fs/promises'
import { join } from 'node:path'
import { after, before } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { assertHolds, bytes, head, MIB, sha256 } from '../harness/data.mjs'
import { against } from '../harness/fixture.mjs'
import { HERE, withFile } from '../harness/programs.mjs'
import { Browser, Page } from '../harness/web.mjs'

const ARTEFACTS = join(HERE, '../../target/tus-clients')
const UPLOAD = '.uppy-StatusBar-actionBtn--upload'
const PAUSE_RESUME = '.uppy-StatusBar-actionCircleBtn'
const OFFLINE = { offline: true, latency: 0, downloadThroughput: 0, uploadThroughput: 0 }
const ONLINE = { offline: false, latency: 0, downloadThroughput: -1, uploadThroughput: -1 }
const LIMIT_MS = 20_000

const it = against()
let page
before(async () => {
  await mkdir(ARTEFACTS, { recursive: true })
  page = await Page.serve()
})
after(() => page?.close())

/** A tab of a new browser with the Dashboard. `body` gets the tab and what a person can do there. */
function inTab(tap, settings, body) {
  return withTab(tap, async (tab) => {
    tab.setDefaultTimeout(LIMIT_MS)
    await tab.goto(page.url({ endpoint: tap.endpoint, ...settings }))
    await body({
      tab,
      add: (path) => tab.setInputFiles('.uppy-Dashboard-input >> nth=0', path),
      start: () => tab.click(UPLOAD),
      pauseOrResume: () => tab.click(`${PAUSE_RESUME} >> nth=0`),
      status: () => tab.textContent('.uppy-StatusBar-content'),
      complete: () => tab.waitForSelector('.uppy-StatusBar.is-complete', { timeout: LIMIT_MS }),
      uploadUrl: () => tab.evaluate(() => window.uppy.getFiles()[0].tus?.uploadUrl ?? window.uppy.getFiles()[0].uploadURL),
    })
  })
}

async function withTab(tap, body) {
  const browser = await Browser.launch()
  const tab = await browser.context.newPage()
  const said = []
  tab.on('console', (message) => said.push(`${message.type()}: ${message.text()}`.slice(0, 300)))
  tab.on('pageerror', (why) => said.push(`uncaught: ${why}`))
  try {
    await body(tab)
  } catch (why) {
    console.error(said.slice(-20).join('\n'))
    console.error(tap.exchanges.map(({ wire, path, offset, body, status }) => ({ wire, path, offset, body, status })))
    throw why
  } finally {
    await browser.close()
  }
}

it('a file goes up after a preflight, and comes down the same', ({ tap }) => {
  const data = bytes(5 * MIB + 3, 'uppy')
  return withFile(data, (path) =>
    inTab(tap, {}, async (uppy) => {
      await uppy.add(path)
      await uppy.start()
      await uppy.complete()
      await assertHolds(await uppy.uploadUrl(), data)
      const preflights = tap.of('OPTIONS')
      assert.deepEqual(
        preflights.map((one) => one.headers['access-control-request-method']),
        ['POST', 'PATCH'],
      )
      for (const { headers, answer, status } of preflights) {
        assert.equal(status, 200)
        assert.equal(answer['access-control-allow-origin'], '*')
        const allowed = answer['access-control-allow-headers'].toLowerCase().split(/,\s*/)
        for (const wanted of headers['access-control-request-headers'].split(',')) assert.ok(allowed.includes(wanted), wanted)
      }
      tap.assertNothingAcknowledgedWasResent()
    }),
  )
})

it('a page can read the file and the offset from another origin', ({ tap }) => {
  const data = bytes(MIB, 'uppy read')
  return withFile(data, (path) =>
    inTab(tap, { chunk: 300_000 }, async (uppy) => {
      await uppy.add(path)
      await uppy.start()
      await uppy.complete()
      const seen = await uppy.tab.evaluate(async (url) => {
        const answer = await fetch(url, { method: 'HEAD', headers: { 'Tus-Resumable': '1.0.0' } })
        const body = await (await fetch(url)).arrayBuffer()
        const digest = new Uint8Array(await crypto.subtle.digest('SHA-256', body))
        const hex = [...digest].map((byte) => byte.toString(16).padStart(2, '0')).join('')
        return { offset: answer.headers.get('Upload-Offset'), length: body.byteLength, hex }
      }, await uppy.uploadUrl())
      assert.deepEqual(seen, { offset: String(data.length), length: data.length, hex: sha256(data) })
      assert.equal(tap.of('PATCH').length, 4)
    }),
  )
})

it('pause stops the bytes, resume goes on from the mark', ({ tap }) => {
  const data = bytes(8 * MIB, 'uppy pause')
  return withFile(data, (path) =>
    inTab(tap, {}, async (uppy) => {
      tap.rate = 2 * MIB
      await uppy.add(path)
      await uppy.start()
      await tap.passed('PATCH', 2 * MIB)
      const picture = join(ARTEFACTS, 'uppy-in-progress.png')
      await uppy.tab.screenshot({ path: picture })
      assert.ok((await stat(picture)).size > 5000)
      await uppy.pauseOrResume()
      tap.drop()
      await sleep(300)
      const paused = tap.sent('PATCH')
      await uppy.tab.screenshot({ path: join(ARTEFACTS, 'uppy-paused.png') })
      assert.match(await uppy.status(), /Paused/)
      await sleep(700)
      assert.equal(tap.sent('PATCH'), paused)
      assert.ok(paused < data.length)
      tap.rate = Number.POSITIVE_INFINITY
      await uppy.pauseOrResume()
      await uppy.complete()
      await uppy.tab.screenshot({ path: join(ARTEFACTS, 'uppy-complete.png') })
      await assertHolds(await uppy.uploadUrl(), data)
      assert.ok(tap.offsets().at(-1) > 0, `PATCHes began at ${tap.offsets()}`)
      tap.assertNothingAcknowledgedWasResent()
    }),
  )
})

it('a page that is reloaded finds its file again and goes on from the mark', ({ tap }) => {
  const data = bytes(8 * MIB, 'uppy reload')
  return withFile(data, (path) =>
    inTab(tap, {}, async (uppy) => {
      tap.rate = 2 * MIB
      await uppy.add(path)
      await uppy.start()
      await tap.passed('PATCH', 3 * MIB)
      // Golden Retriever writes its state at most every 500 ms.
      await sleep(700)
      const before = await uppy.uploadUrl()
      await uppy.tab.reload()
      tap.drop()
      tap.rate = Number.POSITIVE_INFINITY
      await uppy.tab.waitForSelector('.uppy-Dashboard-serviceMsg-title')
      await uppy.tab.screenshot({ path: join(ARTEFACTS, 'uppy-restored.png') })
      await uppy.start()
      await uppy.complete()
      assert.equal(await uppy.uploadUrl(), before)
      await assertHolds(before, data)
      assert.equal(tap.of('POST').length, 1)
      assert.ok(tap.offsets().at(-1) > 0, `PATCHes began at ${tap.offsets()}`)
      tap.assertNothingAcknowledgedWasResent()
    }),
  )
})

it('a phone that loses its network goes on from the mark when it is back', ({ tap }) => {
  const data = bytes(8 * MIB, 'uppy offline')
  return withFile(data, (path) =>
    inTab(tap, {}, async (uppy) => {
      const devtools = await uppy.tab.context().newCDPSession(uppy.tab)
      await devtools.send('Network.enable')
      tap.rate = 2 * MIB
      await uppy.add(path)
      await uppy.start()
      await tap.passed('PATCH', 2 * MIB)
      await devtools.send('Network.emulateNetworkConditions', OFFLINE)
      await uppy.tab.waitForFunction(() => !navigator.onLine)
      // The emulation spares requests that are under way, and Chromium repeats one by itself when its kept-alive
      // connection is reset. Without a network neither would get through.
      tap.unplug()
      await sleep(500)
      const offline = tap.sent('PATCH')
      await uppy.tab.screenshot({ path: join(ARTEFACTS, 'uppy-offline.png') })
      await sleep(1000)
      assert.equal(tap.sent('PATCH'), offline, 'nothing goes out while there is no network')
      assert.ok(offline < data.length)
      tap.rate = Number.POSITIVE_INFINITY
      tap.plug()
      await devtools.send('Network.emulateNetworkConditions', ONLINE)
      await uppy.complete()
      await assertHolds(await uppy.uploadUrl(), data)
      assert.ok(tap.offsets().at(-1) > 0, `PATCHes began at ${tap.offsets()}`)
      tap.assertNothingAcknowledgedWasResent()
    }),
  )
})

it('a server that is killed and comes back finds its browser again', ({ server, tap }) => {
  const data = bytes(8 * MIB, 'uppy killed')
  return withFile(data, (path) =>
    inTab(tap, {}, async (uppy) => {
      tap.rate = 2 * MIB
      await uppy.add(path)
      await uppy.start()
      await tap.passed('PATCH', 4 * MIB)
      await server.kill()
      tap.drop()
      await server.restart()
      tap.rate = Number.POSITIVE_INFINITY
      await uppy.complete()
      const url = await uppy.uploadUrl()
      await assertHolds(url, data)
      assert.equal((await head(url)).headers.get('upload-offset'), String(data.length))
      assert.ok(tap.offsets().at(-1) > 0, `PATCHes began at ${tap.offsets()}`)
      tap.assertNothingAcknowledgedWasResent()
    }),
  )
})
