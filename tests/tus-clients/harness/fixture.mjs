/** One server for a file of tests, one wire for each test. */
import { after, before, test } from 'node:test'
import { Server } from './server.mjs'
import { Tap } from './tap.mjs'

const LIMIT_MS = 300_000

/** `it(name, body)`: `body` gets `{ server, tap }`. */
export function against(settings = {}) {
  let server
  before(async () => {
    server = await Server.start(settings)
  })
  after(() => server?.stop())
  return (name, body) =>
    test(name, { timeout: LIMIT_MS }, async () => {
      const tap = await Tap.open(() => server.port)
      try {
        await body({ server, tap })
      } catch (why) {
        console.error(await server.log())
        throw why
      } finally {
        await tap.close()
      }
    })
}
