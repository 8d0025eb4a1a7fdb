/** A web application on an origin of its own, and a browser that a person would use it with. */
import { execFile } from 'node:child_process'
import { once } from 'node:events'
import { createServer } from 'node:http'
import { mkdtemp, readFile, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { chromium } from 'playwright-core'
import { HERE } from './programs.mjs'

const run = promisify(execFile)
const CHROMIUM = process.env.CHROMIUM_BIN ?? '/usr/bin/chromium'
const FLAGS = [
  '--headless',
  '--no-sandbox',
  '--disable-gpu',
  '--disable-background-networking',
  '--disable-component-update',
  '--disable-sync',
  '--disable-quic',
  '--no-first-run',
]

const TYPES = { html: 'text/html; charset=utf-8', js: 'text/javascript; charset=utf-8', css: 'text/css; charset=utf-8' }

/** The page, bundled and served from a free port of 127.0.0.1. */
export class Page {
  static async serve() {
    const page = new Page()
    page.directory = await mkdtemp(join(tmpdir(), 'plimsoll-page-'))
    const esbuild = join(HERE, 'node_modules/.bin/esbuild')
    await run(esbuild, [
      join(HERE, 'page/app.js'),
      '--bundle',
      '--format=iife',
      '--log-level=warning',
      `--outfile=${join(page.directory, 'app.js')}`,
    ])
    const files = {
      '/': ['html', await readFile(join(HERE, 'page/index.html'))],
      '/app.js': ['js', await readFile(join(page.directory, 'app.js'))],
      '/app.css': ['css', await readFile(join(page.directory, 'app.css'))],
    }
    page.listener = createServer((request, response) => {
      const [type, body] = files[request.url.split('?')[0]] ?? []
      if (!type) response.writeHead(404).end()
      else response.writeHead(200, { 'Content-Type': TYPES[type], 'Cache-Control': 'no-store' }).end(body)
    })
    page.listener.listen(0, '127.0.0.1')
    await once(page.listener, 'listening')
    return page
  }

  url(settings) {
    return `http://127.0.0.1:${this.listener.address().port}/?${new URLSearchParams(settings)}`
  }

  async close() {
    this.listener.closeAllConnections()
    this.listener.close()
    await rm(this.directory, { recursive: true, force: true })
  }
}

/** Chromium with an empty profile. */
export class Browser {
  static async launch() {
    const browser = new Browser()
    browser.profile = await mkdtemp(join(tmpdir(), 'plimsoll-profile-'))
    browser.context = await chromium.launchPersistentContext(browser.profile, {
      executablePath: CHROMIUM,
      headless: true,
      args: FLAGS,
      viewport: { width: 800, height: 600 },
    })
    return browser
  }

  async close() {
    await this.context.close()
    await rm(this.profile, { recursive: true, force: true, maxRetries: 5 })
  }
}
