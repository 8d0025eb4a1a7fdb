/** As much of HTTP/1.1's framing as is needed to tell messages apart while they pass by. */

const END = Buffer.from('\r\n\r\n')

function parseHead(bytes) {
  const [first, ...lines] = bytes.toString('latin1').split('\r\n')
  const headers = {}
  for (const line of lines) {
    const colon = line.indexOf(':')
    if (colon < 1) continue
    headers[line.slice(0, colon).toLowerCase()] = line.slice(colon + 1).trim()
  }
  return { first, headers }
}

/**
 * Splits one direction of a connection into messages.
 *
 * `onHead(head)` answers whether a body can follow (it cannot after HEAD, 204 and 1xx), `onBody(count)` gets the
 * payload's bytes, `onEnd` the end of a message.
 */
export class Messages {
  constructor({ onHead, onBody = () => {}, onEnd = () => {} }) {
    Object.assign(this, { onHead, onBody, onEnd })
    this.held = Buffer.alloc(0)
    this.state = 'head'
    this.left = 0
  }

  push(data) {
    let rest = this.held.length ? Buffer.concat([this.held, data]) : data
    this.held = Buffer.alloc(0)
    while (rest.length) {
      const taken = this[this.state](rest)
      if (taken === 0) {
        this.held = Buffer.from(rest)
        return
      }
      rest = rest.subarray(taken)
    }
  }

  head(data) {
    const end = data.indexOf(END)
    if (end < 0) return 0
    const head = parseHead(data.subarray(0, end))
    const hasBody = this.onHead(head)
    this.left = Number(head.headers['content-length'] ?? 0)
    if (hasBody && /chunked/i.test(head.headers['transfer-encoding'] ?? '')) this.state = 'chunkSize'
    else if (hasBody && this.left > 0) this.state = 'body'
    else this.onEnd()
    return end + END.length
  }

  body(data) {
    const taken = Math.min(this.left, data.length)
    this.left -= taken
    this.onBody(taken)
    if (this.left === 0) this.#finish()
    return taken
  }

  chunkSize(data) {
    const end = data.indexOf('\r\n')
    if (end < 0) return 0
    this.left = Number.parseInt(data.subarray(0, end).toString('latin1'), 16)
    this.state = this.left === 0 ? 'trailers' : 'chunk'
    return end + 2
  }

  chunk(data) {
    const taken = Math.min(this.left, data.length)
    this.left -= taken
    this.onBody(taken)
    if (this.left === 0) this.state = 'chunkEnd'
    return taken
  }

  chunkEnd(data) {
    if (data.length < 2) return 0
    this.state = 'chunkSize'
    return 2
  }

  trailers(data) {
    const end = data.indexOf('\r\n')
    if (end < 0) return 0
    if (end === 0) this.#finish()
    return end + 2
  }

  #finish() {
    this.state = 'head'
    this.onEnd()
  }
}
