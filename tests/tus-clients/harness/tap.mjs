/**
 * The wire between a client and the server: passes bytes on as they are, writes down every request with its answer,
 * and is slow, silent or broken when a test asks for it.
 *
 * Because it counts on the wire, it sees what any client does, whatever its language: where each PATCH began, and
 * whether a byte was sent again that the server had acknowledged before.
 */
import assert from 'node:assert/strict'
import { once } from 'node:events'
import net from 'node:net'
import { Messages } from './http.mjs'

const PIECE = 16 * 1024
const PATIENCE_MS = 20_000

export class Tap {
  /** `target()` answers the server's port at the time of each connection. */
  static async open(target) {
    const tap = new Tap()
    Object.assign(tap, { target, exchanges: [], acknowledged: new Map(), connections: new Set(), rules: [] })
    /** Bytes per second from client to server, for each connection. */
    tap.rate = Number.POSITIVE_INFINITY
    tap.listener = net.createServer((client) => {
      if (tap.isUnplugged) client.resetAndDestroy()
      else tap.connections.add(new Connection(tap, client))
    })
    tap.listener.listen(0, '127.0.0.1')
    await once(tap.listener, 'listening')
    return tap
  }

  get origin() {
    return `http://127.0.0.1:${this.listener.address().port}`
  }

  get endpoint() {
    return `${this.origin}/files`
  }

  /** `url` of the server, as a client on this side of the wire says it. */
  here(url) {
    const { pathname, search } = new URL(url)
    return `${this.origin}${pathname}${search}`
  }

  /** Once, when `bytes` of a body of `method` have passed: 'reset', 'silence', or 'lose-answer'. */
  breakOnce(method, bytes, how) {
    const rule = { method, bytes, how, fired: false }
    rule.done = new Promise((resolve) => {
      rule.fire = () => {
        rule.fired = true
        resolve()
      }
    })
    this.rules.push(rule)
    return rule.done
  }

  /** Resolves when `bytes` bodies' bytes of `method` have passed since now. */
  async passed(method, bytes) {
    const before = this.sent(method)
    for (const deadline = Date.now() + PATIENCE_MS; this.sent(method) - before < bytes; ) {
      assert.ok(Date.now() < deadline, `${this.sent(method) - before} of ${bytes} bytes passed in time`)
      await new Promise((resolve) => setTimeout(resolve, 5))
    }
  }

  of(method) {
    return this.exchanges.filter((exchange) => exchange.method === method)
  }

  offsets() {
    return this.of('PATCH').map((exchange) => exchange.offset)
  }

  sent(method) {
    return this.of(method).reduce((sum, exchange) => sum + exchange.body, 0)
  }

  statuses(method) {
    return this.of(method).map((exchange) => exchange.status)
  }

  /** Every PATCH began where the server had last said that it was: not a byte below. */
  assertNothingAcknowledgedWasResent() {
    const patches = this.of('PATCH')
    assert.ok(patches.length > 0, 'a PATCH was seen')
    for (const { path, offset, known } of patches) {
      assert.equal(offset, known ?? 0, `PATCH ${path} began at ${offset}, acknowledged were ${known}`)
    }
  }

  /** The line goes dead, and what was in flight with it. */
  drop() {
    for (const connection of this.connections) connection.end()
  }

  /** As `drop`, and no connection comes about until `plug`. */
  unplug() {
    this.isUnplugged = true
    this.drop()
  }

  plug() {
    this.isUnplugged = false
  }

  async close() {
    this.drop()
    this.listener.close()
    await once(this.listener, 'close')
  }
}

class Connection {
  constructor(tap, client) {
    Object.assign(this, { tap, client, waiting: [], queue: [], isSilent: false, isPumping: false })
    this.server = net.connect(tap.target(), '127.0.0.1')
    this.requests = new Messages({
      onHead: (head) => this.#request(head),
      onBody: (count) => {
        this.current.body += count
      },
      onEnd: () => {
        this.current.isWhole = true
      },
    })
    this.answers = new Messages({ onHead: (head) => this.#answer(head) })
    for (const socket of [client, this.server]) {
      socket.setNoDelay(true)
      socket.on('error', () => this.end())
      socket.on('close', () => this.end())
    }
    client.on('data', (data) => {
      for (let at = 0; at < data.length; at += PIECE) this.queue.push(data.subarray(at, at + PIECE))
      client.pause()
      this.#pump()
    })
    this.server.on('data', (data) => this.#back(data))
  }

  end() {
    if (!this.tap.connections.delete(this)) return
    this.isEnded = true
    this.client.resetAndDestroy()
    this.server.resetAndDestroy()
  }

  /** Client to server, a piece at a time, at the tap's pace. */
  async #pump() {
    if (this.isPumping) return
    this.isPumping = true
    while (this.queue.length && !this.isEnded && !this.isSilent) {
      const piece = this.queue.shift()
      this.requests.push(piece)
      if (!this.server.write(piece)) {
        await new Promise((resolve) => {
          this.server.once('drain', resolve)
          this.server.once('close', resolve)
        })
      }
      this.#judge()
      const wait = (piece.length / this.tap.rate) * 1000
      if (wait > 0) await new Promise((resolve) => setTimeout(resolve, wait))
    }
    this.isPumping = false
    if (!this.isEnded && !this.isSilent) this.client.resume()
  }

  #judge() {
    const { method, body } = this.current ?? {}
    const rule = this.tap.rules.find((one) => !one.fired && one.method === method && body >= one.bytes)
    if (!rule) return
    rule.fire()
    if (rule.how === 'reset') this.end()
    if (rule.how === 'silence') this.isSilent = true
    if (rule.how === 'lose-answer') this.losesAnswer = true
  }

  #back(data) {
    this.answers.push(data)
    if (this.losesAnswer && this.waiting.length === 0) this.end()
    else if (!this.isSilent) this.client.write(data)
  }

  #request({ first, headers }) {
    const [wire, target] = first.split(' ')
    const path = decodeURI(target.split('?')[0])
    const known = this.tap.acknowledged.get(path)
    const offset = 'upload-offset' in headers ? Number(headers['upload-offset']) : null
    const method = headers['x-http-method-override'] ?? wire
    this.current = { method, wire, path, headers, offset, known, body: 0, isWhole: false, status: null, answer: null }
    this.tap.exchanges.push(this.current)
    this.waiting.push(this.current)
    return true
  }

  #answer({ first, headers }) {
    const status = Number(first.split(' ')[1])
    const exchange = this.waiting[0]
    if (!exchange) throw new Error(`an answer without a request: ${first}`)
    if (status === 100) {
      exchange.continued = true
      return false
    }
    this.waiting.shift()
    Object.assign(exchange, { status, answer: headers })
    if ('upload-offset' in headers) {
      const path = 'location' in headers ? new URL(headers.location, this.tap.origin).pathname : exchange.path
      this.tap.acknowledged.set(decodeURI(path), Number(headers['upload-offset']))
    }
    return exchange.wire !== 'HEAD' && status !== 204 && status !== 304
  }
}
