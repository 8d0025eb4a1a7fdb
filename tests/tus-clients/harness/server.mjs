/**
 * A Plimsoll of its own: empty store, free ports, stopped at the end.
 *
 * The program is $PLIMSOLL_BIN. Settings of whoever runs the tests do not reach it.
 */
import { spawn, execFile } from 'node:child_process'
import { createHmac } from 'node:crypto'
import { mkdtemp, readFile, rm, open } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'

const run = promisify(execFile)
const SECRET = 'a secret for tests alone'
const READY = /^listening on http:\/\/([\d.]+):(\d+)$/m
const READY_WITHIN_MS = 20_000

export function binary() {
  const path = process.env.PLIMSOLL_BIN
  if (!path) throw new Error('PLIMSOLL_BIN does not name the server')
  return path
}

export class Server {
  /** `settings`: SECTION__KEY to value, as in the environment overlay. */
  static async start(settings = {}) {
    const server = new Server()
    server.directory = await mkdtemp(join(tmpdir(), 'plimsoll-tus-clients-'))
    server.settings = {
      SERVER__LISTEN: '127.0.0.1:0',
      METRICS__ENABLED: 'false',
      STORE__PATH: join(server.directory, 'data'),
      STORE__RESERVE: '0',
      SLOTS__SECRET: SECRET,
      TUS__CREATE: 'open',
      ...settings,
    }
    await server.#launch()
    return server
  }

  get origin() {
    return `http://127.0.0.1:${this.port}`
  }

  get endpoint() {
    return `${this.origin}/files`
  }

  /** The process dies at once, as in a power cut for the process. */
  async kill() {
    const ended = this.#ended()
    this.process.kill('SIGKILL')
    await ended
  }

  /** On the same port, with the same store. */
  async restart() {
    this.settings.SERVER__LISTEN = `127.0.0.1:${this.port}`
    await this.#launch()
  }

  /** SIGTERM, which has to end it with status 0, and the store is gone. */
  async stop() {
    let status = this.process.exitCode
    if (this.process.exitCode === null && this.process.signalCode === null) {
      const ended = this.#ended()
      this.process.kill('SIGTERM')
      const reaper = setTimeout(() => this.process.kill('SIGKILL'), 20_000)
      status = await ended
      clearTimeout(reaper)
    }
    const log = await this.log()
    await rm(this.directory, { recursive: true, force: true })
    if (status !== 0) throw new Error(`the server ended with ${status ?? this.process.signalCode}\n${log}`)
  }

  async log() {
    const text = await readFile(join(this.directory, 'log'), 'utf8')
    return text.split('\n').slice(-16).join('\n')
  }

  /** `plimsoll slot`: the PUT URL, as an XMPP server would hand it out. */
  async slot(size, name, type = 'application/octet-stream') {
    const { stdout } = await run(binary(), ['slot', '--size', String(size), '--type', type, name], {
      env: { ...this.#env(), PLIMSOLL_SERVER__PUBLIC_URL: this.origin },
    })
    const url = stdout.match(/http:\S+\?\S+/)?.[0]
    if (!url) throw new Error(`plimsoll slot printed no PUT URL:\n${stdout}`)
    return url
  }

  /** A slot as mod_http_upload_external mints it, protocol v1. */
  slotV1(size, path) {
    const mac = createHmac('sha256', SECRET).update(`${path} ${size}`).digest('hex')
    return `${this.origin}/upload/${encodeURI(path)}?v=${mac}`
  }

  /** `plimsoll grant`: a token that lets its holder create uploads. */
  async grant(user) {
    const { stdout } = await run(binary(), ['grant', '--user', user], { env: this.#env() })
    const token = stdout.match(/[\w-]+\.[\w-]+\.[\w-]+/)?.[0]
    if (!token) throw new Error(`plimsoll grant printed no token:\n${stdout}`)
    return token
  }

  #env() {
    const env = Object.entries(process.env).filter(([name]) => !name.startsWith('PLIMSOLL_'))
    const own = Object.entries(this.settings).map(([key, value]) => [`PLIMSOLL_${key}`, String(value)])
    return Object.fromEntries([...env, ...own])
  }

  #ended() {
    return new Promise((resolve) => this.process.once('exit', (status) => resolve(status)))
  }

  async #launch() {
    const log = await open(join(this.directory, 'log'), 'a')
    this.process = spawn(binary(), ['serve'], {
      env: this.#env(),
      cwd: this.directory,
      stdio: ['ignore', 'pipe', log.fd],
    })
    const { stdout } = this.process
    let printed = ''
    const ready = new Promise((resolve, reject) => {
      const timer = setTimeout(() => reject(new Error('no ready line in time')), READY_WITHIN_MS)
      stdout.on('data', (data) => {
        printed += data
        const found = printed.match(READY)
        if (!found) return
        clearTimeout(timer)
        resolve(Number(found[2]))
      })
      this.process.once('error', reject)
      this.process.once('exit', (status) => reject(new Error(`it ended with ${status} before it was ready`)))
    })
    try {
      this.port = await ready
    } catch (why) {
      this.process.kill('SIGKILL')
      throw new Error(`the server did not start: ${why.message}\n${await this.log()}`)
    } finally {
      await log.close()
    }
  }
}
