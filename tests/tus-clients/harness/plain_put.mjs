/** What a phone's plain PUT leaves behind when the train leaves the station. */
import { once } from 'node:events'
import net from 'node:net'
import { setTimeout as sleep } from 'node:timers/promises'

/** PUTs the first `sent` bytes of `data` to `url` and cuts the connection when `arrived()` says so. */
export async function cutPlainPut(url, data, sent, arrived) {
  const { hostname, port, pathname, search, host } = new URL(url)
  const socket = net.connect(Number(port), hostname)
  socket.on('error', () => {})
  await once(socket, 'connect')
  socket.write(`PUT ${pathname}${search} HTTP/1.1\r\nHost: ${host}\r\nContent-Length: ${data.length}\r\n\r\n`)
  socket.write(data.subarray(0, sent))
  while (!(await arrived())) await sleep(20)
  socket.resetAndDestroy()
}
