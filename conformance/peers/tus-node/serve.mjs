// @tus/server with its file store: node serve.mjs FOLDER. Prints `listening on http://127.0.0.1:PORT`.
import { createServer } from 'node:http'
import { FileStore } from '@tus/file-store'
import { Server } from '@tus/server'

const [folder] = process.argv.slice(2)
const tus = new Server({ path: '/files', datastore: new FileStore({ directory: folder }), maxSize: 2 ** 30 })
const server = createServer((request, response) => tus.handle(request, response))
server.listen(0, '127.0.0.1', () => {
    console.log(`listening on http://127.0.0.1:${server.address().port}`)
})
