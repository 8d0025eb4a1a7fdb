// @tus/server with its file store: node serve.mjs FOLDER PORT PATIENCE. PORT 0 stands for any, PATIENCE is
// the seconds that a request may take (Node's default is 300). Prints the address when it listens.
import { createServer } from 'node:http'
import { FileStore } from '@tus/file-store'
import { Server } from '@tus/server'

// Node 20 may throw from a request's body stream after the answer, outside every handler, which ends the process. What the
// server answers is to be judged, not how its requests overlap with that: the error is told, and the process lives.
process.on('uncaughtException', (error) => console.error(`uncaught ${error.name}: ${error.message}`))

const [directory, port, patience] = process.argv.slice(2)
const day = 24 * 60 * 60 * 1000
const datastore = new FileStore({ directory, expirationPeriodInMilliseconds: day })
const tus = new Server({ path: '/files', datastore, maxSize: 2 ** 30 })
const limits = { requestTimeout: patience * 1000, headersTimeout: patience * 1000, connectionsCheckingInterval: 500 }
const server = createServer(limits, (request, response) => tus.handle(request, response))
server.listen(Number(port), '127.0.0.1', () => {
    console.log(`listening on http://127.0.0.1:${server.address().port}`)
})
